"""From edits to examples: holes as they were when the user typed, what stood around them, and how much each counts.

Everything here is a pure function of the edits' content: an edit that was forgotten leaves no trace, not even in a random number.
"""
