"""What a model can run on: CPUs and their instruction sets, CUDA, Metal, and which of them was proven here."""
