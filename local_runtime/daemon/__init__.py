"""One process per user that owns the model and serves every editor over HTTP on a Unix socket.

`wire` says what crosses the socket and is all that the client shares with the daemon. `scheduler` owns the engine's one
thread; `service` turns requests into its jobs; `app` is the HTTP around it; `lifecycle` starts and ends the process.
"""
