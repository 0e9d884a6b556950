"""The daemon's client, for the language server, the trainer and the command line. Imports no compiler and no weights.

`AsyncClient` is the client; `Client` is the same for code that is not asynchronous. Both start the daemon when it is
needed, replace one that is older than they are, and ask again when it died between two requests.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
import msgspec

from local_runtime import __version__
from local_runtime.client import lifecycle
from local_runtime.client.messages import (
    Ask,
    as_fault,
    encode,
    fault_of,
    hole_request,
    piece_of,
    place,
    transport_faults,
    version_key,
)
from local_runtime.client.sockets import socket_path
from local_runtime.client.unix_transport import UnixTransport
from local_runtime.client.wire import (
    PROTOCOL,
    AdapterList,
    CompletionReply,
    CompletionRequest,
    Health,
    ModelCard,
    ModelList,
    ScoreReply,
    ScoreRequest,
    Selection,
    StopRequest,
)
from local_runtime.engines.protocol import Completion, Piece, Sampling, Stop
from local_runtime.errors import (
    DaemonUnreachable,
    EngineDied,
    NotReady,
)
from local_runtime.prompts.hole import Chunk, Hole

__all__ = ["Ask", "AsyncClient", "Client"]

T = TypeVar("T")

REQUEST_SECONDS = 600.0
"""Longest silence of the daemon in one request: a long prompt on a slow machine."""
CONNECT_SECONDS = 2.0
HEALTH_SECONDS = 5.0
ATTEMPTS = 3
"""A daemon may die, and its successor, too."""
STREAM_END = "[DONE]"
NOT_READY_STATUS = 503


class AsyncClient:
    """Talks to the daemon on this user's Unix socket. Use as `async with AsyncClient("vscode") as client`."""

    def __init__(
        self,
        name: str = "",
        *,
        start: bool = True,
        overrides: Mapping[str, str | int | float] | None = None,
        version: str = __version__,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`name` tells clients apart for fair turns; `start` starts a daemon when there is none, with `overrides`."""
        self.name = f"{name or 'client'}-{os.getpid()}"
        self._start = start and transport is None
        self._overrides = overrides or {}
        self._version = version
        self._checked = False
        self._starting = asyncio.Lock()
        self._transport = transport
        self._http = _pool(transport)
        self._pid = 0
        """Whose connections the pool holds."""

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; what still streams is cancelled in the daemon."""
        await self._http.aclose()

    async def ensure_running(self) -> Health:
        """Have a daemon that is at least as new as this client and answers; its model may still be loading.

        Raises DaemonUnreachable, also if the daemon speaks a protocol that this client is too old for.
        """
        async with self._starting:
            health = await self._running()
            if version_key(health.version) < version_key(self._version):
                await self.stop(health.pid)
                health = await self._running()
            if health.pid != self._pid:
                # What is left in the pool leads to a daemon that is gone.
                await self._http.aclose()
                self._http, self._pid = _pool(self._transport), health.pid
            if not health.protocol_min <= PROTOCOL <= health.protocol:
                raise DaemonUnreachable(
                    f"the daemon (version {health.version}) speaks protocol {health.protocol}, this client speaks {PROTOCOL}",
                    "restart this editor, so that it uses the installed version",
                )
            self._checked = True
            return health

    async def _running(self) -> Health:
        """The health of a daemon, started if there is none. One that dies at once is started again, a few times."""
        for _ in range(ATTEMPTS):
            health = await self._health_or_none()
            if health is not None:
                return health
            await asyncio.to_thread(lifecycle.start, self._overrides)
        return await self.health()

    async def wait_ready(self, seconds: float = 600.0) -> Health:
        """Have a daemon whose model answers. Raises NotReady if it cannot be loaded, or not in time."""
        health = await self.ensure_running()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while health.status in ("loading", "compiling") and (left := deadline - loop.time()) > 0:
            health = await self.health(wait_seconds=min(left, 30.0))
        if health.status != "ready":
            raise NotReady(health.message or f"the model is still {health.status}", health.remedy)
        return health

    async def health(self, wait_seconds: float = 0.0) -> Health:
        """Who serves, and whether the model is ready; waits for that for up to `wait_seconds` (at most 60)."""
        parameters = {"wait": f"{wait_seconds:g}"} if wait_seconds else {}
        with transport_faults():
            # On a connection of its own: one from the pool may lead to a daemon that is gone.
            async with _pool(self._transport) as http:
                reply = await http.get("/health", params=parameters, timeout=HEALTH_SECONDS + wait_seconds)
        return msgspec.json.decode(reply.content, type=Health)

    async def complete(
        self, hole: Hole, chunks: Sequence[Chunk] = (), sampling: Sampling | None = None, ask: Ask | None = None
    ) -> Completion:
        """Fill a hole. At the deadline the answer is what there is, with `Stop.CANCELLED`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        text, stop, first_ms = "", Stop.CANCELLED, 0.0
        logprobs: list[float] = []
        adapter_id: str | None = None
        n_tokens = 0
        async with aclosing(
            self._replies(hole_request(hole, chunks, sampling or Sampling(), ask or Ask(), self.name), ask or Ask())
        ) as replies:
            async for reply in replies:
                piece = piece_of(reply)
                if piece.token_ids and not n_tokens:
                    first_ms = (loop.time() - began) * 1000
                n_tokens += len(piece.token_ids)
                text += piece.text
                logprobs += piece.logprobs
                adapter_id = reply.adapter_id
                stop = piece.stop or stop
        mean = sum(logprobs) / len(logprobs) if logprobs else 0.0
        return Completion(text, stop, n_tokens, first_ms, (loop.time() - began) * 1000, adapter_id, mean)

    async def stream(
        self, hole: Hole, chunks: Sequence[Chunk] = (), sampling: Sampling | None = None, ask: Ask | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Fill a hole, piece by piece. Closing the generator cancels within one forward.

        The last piece has `stop`; at the deadline, or when a newer request of the document came, it is `Stop.CANCELLED`.
        """
        request = hole_request(hole, chunks, sampling or Sampling(), ask or Ask(), self.name)
        stopped = False
        async with aclosing(self._replies(request, ask or Ask())) as replies:
            async for reply in replies:
                piece = piece_of(reply)
                stopped = piece.stop is not None
                yield piece
        if not stopped:
            yield Piece(stop=Stop.CANCELLED)

    async def score(
        self, hole: Hole, target: str, chunks: Sequence[Chunk] = (), ask: Ask | None = None, *, end: bool = True
    ) -> ScoreReply:
        """Log-probability of `target` as the hole's middle, per token; `end`: of stopping after it, too."""
        ask = ask or Ask()
        request = ScoreRequest(target=target, end=end, **place(hole, chunks, ask, self.name))
        return await self._call("POST", "/v1/score", request, ScoreReply, model=True)

    async def models(self) -> list[ModelCard]:
        """What is served; empty while it loads."""
        return (await self._call("GET", "/v1/models", None, ModelList)).data

    async def adapters(self) -> AdapterList:
        """Adapters on disk, and the active one."""
        return await self._call("GET", "/v1/adapters", None, AdapterList)

    async def select(self, selection: Selection) -> AdapterList:
        """Activate an adapter, a mix, the base or another strength; running requests keep what they began with."""
        return await self._call("POST", "/v1/adapters", selection, AdapterList)

    async def activate(self, adapter: str | None, strength: float = 1.0) -> AdapterList:
        """Serve with this adapter from now on; None: with none."""
        return await self.select(Selection(adapter=adapter, strength=strength))

    async def stop(self, pid: int | None = None) -> bool:
        """End the daemon (that very one, if `pid` is given) and wait until it has. False if there was none."""
        health = await self._health_or_none()
        if health is None or (pid is not None and health.pid != pid):
            return False
        with suppress(DaemonUnreachable, EngineDied):  # it may go before it has answered
            await self._call("POST", "/v1/runtime/stop", StopRequest(health.pid), Health, retry=False)
        if not await asyncio.to_thread(lifecycle.wait_gone, health.pid):
            await asyncio.to_thread(lifecycle.kill)
        return True

    async def _health_or_none(self) -> Health | None:
        try:
            return await self.health()
        except (DaemonUnreachable, EngineDied):
            return None

    async def _call(
        self,
        method: str,
        path: str,
        body: msgspec.Struct | None,
        kind: type[T],
        *,
        retry: bool = True,
        model: bool = False,
    ) -> T:
        response = await self._send(method, path, body, retry=retry, model=model)
        try:
            with transport_faults():
                content = await response.aread()
        finally:
            await response.aclose()
        if response.is_error:
            raise fault_of(content, response.status_code)
        return msgspec.json.decode(content, type=kind)

    async def _replies(self, request: CompletionRequest, ask: Ask) -> AsyncGenerator[CompletionReply, None]:
        """The events of a stream, until its end or the deadline. Closing the connection is what cancels."""
        loop = asyncio.get_running_loop()
        deadline = None if ask.deadline_ms is None else loop.time() + ask.deadline_ms / 1000
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._send("POST", "/v1/completions", request, model=True)
        except TimeoutError:
            return
        try:
            if response.is_error:
                raise fault_of(await response.aread(), response.status_code)
            lines = response.aiter_lines()
            while True:
                # The time limit spans the wait alone: across a `yield` it would strike the consumer.
                with transport_faults():
                    async with asyncio.timeout_at(deadline):
                        line = await anext(lines, None)
                if line is None:
                    return
                data = line.removeprefix("data: ")
                if data == STREAM_END:
                    continue  # read to the end of the body, so that the connection serves the next request too
                if data.startswith('{"error"'):
                    raise fault_of(data.encode(), 500)
                if data:
                    yield msgspec.json.decode(data, type=CompletionReply)
        except TimeoutError:
            return
        finally:
            await response.aclose()

    async def _send(
        self, method: str, path: str, body: msgspec.Struct | None, *, retry: bool = True, model: bool = False
    ) -> httpx.Response:
        """Send, and return with the status. A daemon that is gone is started, and asked again.

        `model`: the request needs one, so a daemon that has just been started is waited for.
        """
        content = encode(body)
        for attempt in range(ATTEMPTS):
            if retry and self._start and not self._checked:
                await (self.wait_ready() if model else self.ensure_running())
            try:
                response = await self._http.send(self._http.build_request(method, path, content=content), stream=True)
                if not (model and retry and self._start) or response.status_code != NOT_READY_STATUS or attempt > 0:
                    return response
                await response.aclose()  # another client has just started this daemon
                self._checked = False
            except httpx.TransportError as lost:
                self._checked = False
                slow = isinstance(lost, httpx.ReadTimeout)
                if slow or not (retry and self._start) or attempt == ATTEMPTS - 1:
                    raise as_fault(lost) from lost
        raise AssertionError("unreachable")


P = ParamSpec("P")


def _waiting(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """The same method for code that waits."""

    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(method(self.client, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class Client:
    """`AsyncClient` for code without an event loop: the same methods, which wait. For one thread at a time."""

    def __init__(
        self,
        name: str = "",
        *,
        start: bool = True,
        overrides: Mapping[str, str | int | float] | None = None,
        version: str = __version__,
    ) -> None:
        self._runner = asyncio.Runner()
        self.client = AsyncClient(name, start=start, overrides=overrides, version=version)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.client.close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine of the asynchronous client."""
        return self._runner.run(work)

    ensure_running = _waiting(AsyncClient.ensure_running)
    wait_ready = _waiting(AsyncClient.wait_ready)
    health = _waiting(AsyncClient.health)
    complete = _waiting(AsyncClient.complete)
    score = _waiting(AsyncClient.score)
    models = _waiting(AsyncClient.models)
    adapters = _waiting(AsyncClient.adapters)
    select = _waiting(AsyncClient.select)
    activate = _waiting(AsyncClient.activate)
    stop = _waiting(AsyncClient.stop)

    def stream(
        self, hole: Hole, chunks: Sequence[Chunk] = (), sampling: Sampling | None = None, ask: Ask | None = None
    ) -> Iterator[Piece]:
        """Fill a hole, piece by piece. Closing the generator cancels within one forward."""
        pieces = self.client.stream(hole, chunks, sampling, ask)

        async def following() -> Piece | None:
            return await anext(pieces, None)

        try:
            while (piece := self.run(following())) is not None:
                yield piece
        finally:
            self.run(pieces.aclose())


def _pool(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Connections to the daemon's socket; `transport` goes elsewhere, in tests."""
    transport = transport or UnixTransport(str(socket_path()))
    timeout = httpx.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(transport=transport, base_url="http://understudy", timeout=timeout, trust_env=False)
