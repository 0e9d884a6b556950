"""What is kept of suggestions, and the note of a training run that goes on."""
