"""One process per user that owns the model and serves every editor over HTTP on a Unix socket."""
