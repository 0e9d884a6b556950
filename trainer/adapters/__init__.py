"""Personal adapters as versions: staged, promoted, rolled back, mixed, exported, imported."""
