"""The language server, one light process per editor window. May import `local_runtime`; never `trainer`, torch or tvm."""
