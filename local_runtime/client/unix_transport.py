"""httpx over a Unix socket by asyncio's own streams.

httpx's default backend registers a future's `set_result` as the socket's callback: a request that is cancelled just as its
answer comes leaves "Exception in callback" in an editor's log. Here a cancelled read leaves nothing, and costs less.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

MAX_CONNECTIONS = 64
IDLE_CONNECTIONS = 16
IDLE_SECONDS = 60.0
"""Less than the daemon keeps a connection open, so that none is used that it is about to close."""


class UnixTransport(httpx.AsyncHTTPTransport):
    """All requests go to one socket, whatever their host."""

    def __init__(self, path: str) -> None:
        super().__init__(verify=False)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            uds=path,
            network_backend=_Backend(),
        )


class _Backend(httpcore.AsyncNetworkBackend):
    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                return _Stream(*await asyncio.open_unix_connection(path))
        except TimeoutError:
            raise httpcore.ConnectTimeout(path) from None
        except OSError as problem:
            raise httpcore.ConnectError(str(problem)) from None

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout("the daemon says nothing") from None
        except OSError as problem:
            raise httpcore.ReadError(str(problem)) from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError:
            raise httpcore.WriteTimeout("the daemon reads nothing") from None
        except OSError as problem:
            raise httpcore.WriteError(str(problem)) from None

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("there is no TLS on a Unix socket")

    def get_extra_info(self, info: str) -> Any:
        """`is_readable` of an idle connection: the daemon has closed it."""
        if info != "is_readable":
            return self._writer.get_extra_info(info)
        if self._writer.is_closing() or self._reader.at_eof():
            return True
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))
