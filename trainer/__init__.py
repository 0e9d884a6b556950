"""Learning, off by default. May import `local_runtime`; never `lsp_server`. The only package that imports torch."""
