"""Bodies in, replies out: sizes and times bounded, every error a sentence in OpenAI's shape, a hang-up noticed at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_runtime.client.wire import MAX_BODY_BYTES, ErrorBody, ErrorReply
from local_runtime.errors import (
    AdapterInvalid,
    BadRequest,
    EngineDied,
    NotReady,
    OtherBase,
    OutOfMemory,
    RemoteFailed,
    RuntimeFault,
)

T = TypeVar("T")

BODY_SECONDS = 20.0
SEND_SECONDS = 30.0
"""A client that reads nothing for this long is taken for gone."""
DISCARDED_BYTES = 64 << 20
"""An oversized body is read and dropped up to here, so that its sender sees the answer and not a broken pipe."""

_STATUS: dict[type[RuntimeFault], tuple[int, str]] = {
    BadRequest: (400, "invalid_request_error"),
    AdapterInvalid: (400, "adapter_invalid"),
    OtherBase: (409, "other_base"),
    NotReady: (503, "not_ready"),
    OutOfMemory: (503, "out_of_memory"),
    EngineDied: (500, "engine_died"),
    RemoteFailed: (502, "remote_failed"),
}


class HttpProblem(Exception):
    """A reply that is not a success."""

    def __init__(
        self, status: int, message: str, kind: str = "invalid_request_error", remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.remedy = remedy

    def reply(self) -> Response:
        """The problem as a response."""
        headers = {"Retry-After": "1"} if self.status == 503 else None
        return reply(error_of(self), self.status, headers)


class HungUp(Exception):
    """The client is gone: nobody reads an answer."""


def as_problem(error: Exception) -> HttpProblem:
    """The reply that a fault deserves; what is not a fault of ours becomes a 500 without its details."""
    if isinstance(error, HttpProblem):
        return error
    if isinstance(error, RuntimeFault):
        status, kind = _STATUS.get(type(error), (500, "runtime_fault"))
        return HttpProblem(status, error.message, kind, error.remedy)
    return HttpProblem(
        500, "the daemon failed on this request; its log says where", "internal_error", "understudy runtime logs"
    )


def error_of(problem: HttpProblem) -> ErrorReply:
    """OpenAI's error object."""
    return ErrorReply(ErrorBody(problem.message, problem.kind, code=problem.kind, remedy=problem.remedy))


def reply(value: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A struct as a JSON response."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


async def read(request: Request, kind: type[T]) -> T:
    """The request's body as `kind`. Raises HttpProblem: 413 too large, 408 too slow, 400 not what was expected."""
    body = await _body(request)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise HttpProblem(400, f"the body is not a valid request: {problem}") from None
    except UnicodeDecodeError:
        raise HttpProblem(400, "the body is not UTF-8") from None


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                chunk = message.get("body", b"")
                size_bytes += len(chunk)
                if size_bytes <= MAX_BODY_BYTES:
                    chunks.append(chunk)
                else:
                    chunks.clear()
                if size_bytes > DISCARDED_BYTES or not message.get("more_body", False):
                    break
    except TimeoutError:
        raise HttpProblem(408, f"the body did not arrive within {BODY_SECONDS:g} seconds") from None
    if size_bytes > MAX_BODY_BYTES:
        raise HttpProblem(
            413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB, which is more than any context holds"
        )
    return b"".join(chunks)


async def until_hangup(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up first (then HungUp is raised)."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HungUp
        return task.result()
    finally:
        await _end(task, gone)


class Stream(Response):
    """A body that grows. The iterator is closed as soon as the client is gone or reads no more."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], media_type: str) -> None:
        self.media_type = media_type
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the chunks end, or `receive` tells that the client hung up."""
        task = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            await _end(task, gone)
            await self._chunks.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with suppress(TimeoutError):
            async for chunk in self._chunks:
                async with asyncio.timeout(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
