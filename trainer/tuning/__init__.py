"""Training a personal adapter: LoRA on the very weights that serve, in a plain loop that any kill leaves resumable."""
