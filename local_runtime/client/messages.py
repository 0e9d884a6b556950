"""Between the client's values and what crosses the socket: requests from holes, pieces and faults from replies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from local_runtime.client.wire import CompletionReply, CompletionRequest, ContextChunk, ErrorReply
from local_runtime.engines.protocol import Piece, Sampling, Stop
from local_runtime.errors import (
    AdapterInvalid,
    BadRequest,
    DaemonUnreachable,
    EngineDied,
    NotReady,
    OtherBase,
    OutOfMemory,
    RemoteFailed,
    RuntimeFault,
)
from local_runtime.prompts.hole import Chunk, Hole

_FAULTS: dict[str, type[RuntimeFault]] = {
    "adapter_invalid": AdapterInvalid,
    "not_ready": NotReady,
    "other_base": OtherBase,
    "out_of_memory": OutOfMemory,
    "engine_died": EngineDied,
    "internal_error": EngineDied,
    "remote_failed": RemoteFailed,
    "runtime_fault": RuntimeFault,
}


@dataclass(frozen=True, slots=True)
class Ask:
    """For whom and with what a request is made; everything has a default."""

    adapter: str | None = None
    """An adapter for this request alone; None: the active one; `base`: none."""
    strength: float | None = None
    document: str = ""
    """A newer request of the same document cancels the older one."""
    background: bool = False
    """Run only while no person waits."""
    deadline_ms: float | None = None
    """End with what there is after this time."""
    model: str | None = None


def place(hole: Hole, chunks: Sequence[Chunk], ask: Ask, user: str) -> dict[str, Any]:
    """The fields that completions and scores share."""
    return {
        "prompt": hole.prefix,
        "suffix": hole.suffix,
        "context": [ContextChunk(chunk.path, chunk.text) for chunk in chunks],
        "path": hole.path,
        "language": hole.language,
        "model": ask.model,
        "adapter": ask.adapter,
        "strength": ask.strength,
        "user": user,
        "document": ask.document,
        "priority": "background" if ask.background else "person",
    }


def hole_request(hole: Hole, chunks: Sequence[Chunk], sampling: Sampling, ask: Ask, user: str) -> CompletionRequest:
    """A streamed completion of a hole, with log-probabilities."""
    return CompletionRequest(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=list(sampling.stop) or None,
        speculate=sampling.speculate,
        logprobs=True,
        stream=True,
        **place(hole, chunks, ask, user),
    )


def piece_of(reply: CompletionReply) -> Piece:
    """One event as what the engine gave."""
    choice = reply.choices[0]
    logprobs = tuple(choice.logprobs.token_logprobs) if choice.logprobs else ()
    return Piece(choice.text, tuple(choice.token_ids), logprobs, Stop(choice.stop_kind) if choice.stop_kind else None)


def encode(body: msgspec.Struct | None) -> bytes | None:
    """A request's body. Raises BadRequest for what JSON cannot carry."""
    try:
        return None if body is None else msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise BadRequest("a text holds a lone surrogate, which UTF-8 cannot carry") from None


def fault_of(content: bytes, status: int) -> RuntimeFault:
    """The fault that the daemon named."""
    try:
        error = msgspec.json.decode(content, type=ErrorReply).error
    except msgspec.MsgspecError:
        return EngineDied(f"the daemon answered with status {status} and no reason")
    return _FAULTS.get(error.type, BadRequest)(error.message, error.remedy)


def as_fault(problem: httpx.TransportError) -> RuntimeFault:
    """What a broken connection means to a user."""
    if isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout):
        return DaemonUnreachable("the daemon is not running", "understudy runtime start")
    if isinstance(problem, httpx.TimeoutException):
        return DaemonUnreachable("the daemon does not answer", "understudy runtime stop --force")
    return EngineDied("the daemon went away in the middle of an answer", "understudy runtime logs")


@contextmanager
def transport_faults() -> Iterator[None]:
    """httpx's errors as faults of ours."""
    try:
        yield
    except httpx.TransportError as problem:
        raise as_fault(problem) from problem


def version_key(version: str) -> tuple[int, ...]:
    """`0.10.1` after `0.9`; what follows the digits of a part does not count."""
    return tuple(int(match[0]) if (match := re.match(r"\d+", part)) else 0 for part in version.split("."))
