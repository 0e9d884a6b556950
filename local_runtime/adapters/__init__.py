"""LoRA adapters on disk and in memory: reading, mixing, merging, and the shelf of those that may serve."""
