"""HTTP on the daemon's sockets: uvicorn's protocol without its server, so that nothing ticks while nobody asks.

Added here: a deadline for a request's head, so that a client that trickles bytes loses its connection; a limit on
connections; an orderly end.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 120
MAX_HEAD_BYTES = 64 << 10
MAX_CONNECTIONS = 256
DRAIN_SECONDS = 3.0


class _Protocol(H11Protocol):
    """One connection."""

    _head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse what is beyond the limit; give the first request's head its time."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; while a head is incomplete, its deadline runs and is not moved by more bytes."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            if self._head_deadline is None:
                self._await_head()
        else:
            self._head_arrived()

    def on_response_complete(self) -> None:
        """The beginning of another head may have come with the last request."""
        super().on_response_complete()
        if self._head_deadline is None and self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._await_head()

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_arrived(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


class Listeners:
    """All sockets that the daemon answers on."""

    def __init__(self) -> None:
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def listen(self, app: ASGIApp, listening: socket.socket) -> None:
        """Serve `app` on a bound socket."""
        config = Config(
            app, http="h11", lifespan="off", log_config=None, access_log=False, ws="none", interface="asgi3", proxy_headers=False,
            server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )  # fmt: skip
        config.load()

        def connection() -> asyncio.Protocol:
            return _Protocol(config, self._state, {})

        loop = asyncio.get_running_loop()
        if listening.family == socket.AF_UNIX:
            self._servers.append(await loop.create_unix_server(connection, sock=listening))
        else:
            self._servers.append(await loop.create_server(connection, sock=listening))

    async def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Accept nothing new, let running requests end for at most `drain_seconds`, then cut them off."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks: set[asyncio.Task[Any]] = set(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self._state.connections):
            connection.transport.abort()
