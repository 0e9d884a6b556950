"""From a hole to the ids that a model reads: families, layouts, windows, and text that never becomes a control token."""
