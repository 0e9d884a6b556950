"""One completion from request to reply, whole or streamed, in whatever dialect the client speaks.

A dialect is a type of request, a function that understands it as a `CompletionRequest`, and a `Voice` that says each reply.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_runtime.client.wire import Choice, CompletionReply, CompletionRequest, Logprobs, Timings, Usage
from local_runtime.daemon.http import HttpProblem, Stream, as_problem, read, until_hangup
from local_runtime.daemon.metrics import Outcome
from local_runtime.daemon.record import Record
from local_runtime.daemon.scheduler import Superseded
from local_runtime.daemon.service import Generation, Service
from local_runtime.engines.protocol import Piece, Stop

T = TypeVar("T")
_REASON = {Stop.END: "stop", Stop.TEXT: "stop", Stop.LENGTH: "length", Stop.CANCELLED: "cancelled"}


class Voice(Protocol):
    """How a dialect answers one request."""

    @property
    def media_type(self) -> str:
        """Of a stream."""
        ...

    def whole(self, reply: CompletionReply) -> Any:
        """The answer to a request that does not stream, ready for JSON."""
        ...

    def part(self, reply: CompletionReply) -> bytes:
        """The next bytes of a stream, if this reply makes any; the last reply has `usage`."""
        ...

    def fault(self, problem: HttpProblem) -> bytes:
        """The last bytes of a stream that broke."""
        ...


async def converse(
    request: Request, kind: type[T], understand: Callable[[T], tuple[CompletionRequest, Voice]]
) -> Response:
    """Read, generate, answer; a hang-up ends the generation within one forward."""
    service: Service = request.app.state.service
    record = Record(service.metrics, "completion")
    with record.failures():
        body, voice = understand(await read(request, kind))
        record.about(body)
        if not body.stream:
            whole = voice.whole(await until_hangup(request, _whole(service, body, record)))
            return Response(msgspec.json.encode(whole), media_type="application/json")
        replies = _replies(service, body, record)
        # The first reply is made before the status line is sent: what is wrong with a request becomes a 4xx.
        first = await until_hangup(request, anext(replies))
    return Stream(_said(voice, first, replies), voice.media_type)


async def _said(
    voice: Voice, first: CompletionReply | HttpProblem, replies: AsyncGenerator[CompletionReply | HttpProblem, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(replies):
        if said := _bytes(voice, first):
            yield said
        async for reply in replies:
            if said := _bytes(voice, reply):
                yield said


def _bytes(voice: Voice, reply: CompletionReply | HttpProblem) -> bytes:
    return voice.fault(reply) if isinstance(reply, HttpProblem) else voice.part(reply)


@dataclass
class _Answer:
    """A reply as it grows."""

    service: Service
    body: CompletionRequest
    generation: Generation
    id: str = field(default_factory=lambda: f"cmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    n_tokens: int = 0
    first_token_ms: float = 0.0
    _lengths: dict[int, int] = field(default_factory=dict)

    def choice(self, index: int, piece: Piece) -> Choice:
        """One piece as a part of its choice."""
        if piece.token_ids and not self.n_tokens:
            self.first_token_ms = self._elapsed_ms()
        self.n_tokens += len(piece.token_ids)
        text = piece.text if self.body.max_tokens != 0 else ""
        logprobs = None
        if self.body.logprobs is not None and self.body.logprobs is not False:
            prompting = self.service.prompting
            assert prompting is not None
            tokens = prompting.texts(piece.token_ids)
            offsets = []
            for token in tokens:
                offsets.append(self._lengths.get(index, 0))
                self._lengths[index] = offsets[-1] + len(token)
            logprobs = Logprobs(tokens, list(piece.logprobs), None, offsets)
        reason = _REASON[piece.stop] if piece.stop else None
        return Choice(text, index, logprobs, reason, piece.stop.value if piece.stop else None, list(piece.token_ids))  # type: ignore[arg-type]

    def reply(self, choices: list[Choice], *, last: bool) -> CompletionReply:
        """The choices in OpenAI's envelope."""
        generation, n_prompt = self.generation, len(self.generation.prompt.token_ids)
        model, adapter = self.service.model, generation.choice.adapter
        answer = CompletionReply(self.id, self.created, model.name if model else "", choices)
        answer.adapter_id = adapter.id if adapter else None
        answer.strength = generation.choice.strength
        if last:
            answer.usage = Usage(n_prompt, self.n_tokens, n_prompt + self.n_tokens)
            answer.timings = Timings(self.first_token_ms, self._elapsed_ms())
        return answer

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self.generation.began) * 1000


async def _whole(service: Service, body: CompletionRequest, record: Record) -> CompletionReply:
    """All choices in one reply. A superseded request gets what there was, with `cancelled` as its reason."""
    choices = [Choice("", index) for index in range(body.n)]
    async with service.complete(body) as generation:
        answer = _Answer(service, body, generation)
        outcome = Outcome.OK
        try:
            async for index, piece in generation.job:
                _append(choices[index], answer.choice(index, piece))
        except Superseded:
            outcome = Outcome.SUPERSEDED
    for choice in choices:
        if choice.finish_reason is None:
            choice.finish_reason = choice.stop_kind = "cancelled"
    whole = answer.reply(choices, last=True)
    record.completed(outcome, whole)
    return whole


async def _replies(
    service: Service, body: CompletionRequest, record: Record
) -> AsyncGenerator[CompletionReply | HttpProblem, None]:
    """One reply for the pieces that came together; a fault in the middle is the last."""
    with record.failures():
        async with service.complete(body) as generation:
            answer = _Answer(service, body, generation)
            outcome = Outcome.OK
            finished, index, piece = 0, 0, Piece()
            sent = False
            try:
                while finished < body.n and (pieces := await generation.job.take()):
                    for index, piece in _joined(pieces):
                        finished += piece.stop is not None
                        if finished < body.n:
                            yield answer.reply([answer.choice(index, piece)], last=False)
                            sent = True
            except Superseded:
                outcome, index, piece = Outcome.SUPERSEDED, 0, Piece(stop=Stop.CANCELLED)
            except Exception as fault:
                if not sent:
                    raise
                record.failed(fault)
                yield as_problem(fault)
                return
            whole = answer.reply([answer.choice(index, piece)], last=True)
            record.completed(outcome, whole)
            yield whole


def _joined(pieces: Iterable[tuple[int, Piece]]) -> Iterator[tuple[int, Piece]]:
    """What came together as one piece per choice. Empty ones, of a prompt that is being prefilled, are left out."""
    for index, group in groupby(pieces, key=itemgetter(0)):
        parts = [piece for _, piece in group]
        joined = Piece(
            "".join(piece.text for piece in parts),
            tuple(chain.from_iterable(piece.token_ids for piece in parts)),
            tuple(chain.from_iterable(piece.logprobs for piece in parts)),
            parts[-1].stop,
        )
        if joined.text or joined.token_ids or joined.stop:
            yield index, joined


def _append(choice: Choice, part: Choice) -> None:
    choice.text += part.text
    choice.token_ids += part.token_ids
    choice.finish_reason, choice.stop_kind = part.finish_reason, part.stop_kind
    if part.logprobs is not None:
        choice.logprobs = choice.logprobs or Logprobs([], [], None, [])
        choice.logprobs.tokens += part.logprobs.tokens
        choice.logprobs.token_logprobs += part.logprobs.token_logprobs
        choice.logprobs.text_offset += part.logprobs.text_offset
