"""Model folders: reading Hugging Face's, writing and reading MLC's. Imports neither tvm nor torch."""
