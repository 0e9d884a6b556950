"""What else the model is shown, and what it never is: related pieces, ignore rules, secret rules.

Serving, training and judging all use this package. `workspace.WorkspaceContext` is the way in; clocks, folders and databases
are its arguments. No tvm; tree-sitter and detect-secrets are imported when first needed.
"""
