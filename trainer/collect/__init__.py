"""What the user saved, in folders they opted in: watched, cleaned, kept. No torch; nothing here leaves the machine.

The path of an edit: `watch` (or `scan`, or `git_history`) -> `hygiene` (is this file learnt from?) -> `cleaning` (which of its
hunks?) -> `journal`. A text reaches the journal only through `cleaning`, so a secret never does.
"""
