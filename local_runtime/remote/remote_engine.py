"""An engine elsewhere: any server that speaks OpenAI's `/v1/completions` and streams.

It keeps the laws of `local_runtime.engines.protocol`, with three exceptions that no protocol offers a way around: it scores nothing,
applies no adapter, and cannot be made to begin with healed text. Waiting is a row of short empty pieces, so closing the
generator hangs up within one of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec

from local_runtime.engines.admission import check_adapter, check_prompt, check_sampling, check_target
from local_runtime.engines.detokenizer import Detokenizer
from local_runtime.engines.protocol import Adapter, EngineModel, Piece, Prompt, Sampling, Stop, TokenScore
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.errors import AdapterInvalid, BadRequest, RemoteFailed
from local_runtime.remote.connection import DONE, Connection
from local_runtime.remote.wording import Wording

WAIT_SECONDS = 0.01
"""How long one `next` waits for the server."""
MAX_STOPS = 4
"""OpenAI's limit; the others are looked for here alone."""
COMPLETIONS = "/v1/completions"


class RemoteLogprobs(msgspec.Struct):
    """OpenAI's parallel lists; a server may leave holes in them."""

    token_logprobs: list[float | None] = []


class RemoteChoice(msgspec.Struct):
    """The next part of the completion. `token_ids` and `stop_reason` are vLLM's, `stop_kind` is ours."""

    text: str = ""
    finish_reason: str | None = None
    logprobs: RemoteLogprobs | None = None
    token_ids: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
    stop_kind: str | None = None
    stop_reason: str | int | None = None


class RemoteEvent(msgspec.Struct):
    """One event of the stream; the last may hold no choice, only what it cost."""

    choices: list[RemoteChoice] = []
    error: Any = None


class RemoteEngine:
    """`wording` says how prompts are put; `folder` is the tokenizer's, None without one.

    Without `sends_stops` stop strings are looked for here alone, and the server is hung up on.
    """

    def __init__(
        self,
        connection: Connection,
        wording: Wording,
        name: str,
        *,
        context_tokens: int,
        vocab_size: int,
        folder: Path | None,
        sends_stops: bool = True,
    ) -> None:
        host = connection.address.host
        identity = hashlib.sha256(f"{connection.address.url}\0{name}".encode()).hexdigest()
        self.model = EngineModel(
            name,
            identity,
            folder,
            context_tokens,
            vocab_size,
            "remote",
            f"remote: {host}",
            {"remote": host},
            scores=False,
        )
        self.forwards = 0
        """Times that somebody waited for the server, or read what came."""
        self._connection = connection
        self._wording = wording
        self._sends_stops = sends_stops

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        """Complete `prompt` there. Raises BadRequest, AdapterInvalid, RemoteFailed. Logprobs only if the server gives them."""
        check_prompt(self.model, prompt)
        check_sampling(sampling)
        self._check_no_adapter(adapter, strength)
        text = Detokenizer(Vocabulary.of_bytes(), sampling.stop)
        with closing(self._connection.ask(COMPLETIONS, self._body(prompt, sampling))) as answer:
            while True:
                self.forwards += 1
                data = answer.next(WAIT_SECONDS)
                if data is None:
                    yield Piece()
                    continue
                choice = RemoteChoice(finish_reason="stop") if data == DONE else self._choice(data)
                piece = self._piece(choice, prompt, text)
                answer.ended = choice.finish_reason is not None
                yield piece
                if piece.stop is not None:
                    return

    def score(
        self, prompt: Prompt, target: tuple[int, ...], adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[TokenScore]:
        """Not possible: the protocol has no way to ask for the probability of a given text. Raises BadRequest."""
        check_prompt(self.model, prompt)
        check_target(self.model, prompt, target)
        self._check_no_adapter(adapter, strength)
        raise BadRequest(
            f"{self._host} scores nothing: judging and learning need a model on this machine",
            'engine = "compiled" in config.toml, then: understudy runtime stop',
        )
        yield

    def close(self) -> None:
        """Hang up on everything."""
        self._connection.close()

    @property
    def _host(self) -> str:
        return self._connection.address.host

    def _check_no_adapter(self, adapter: Adapter | None, strength: float) -> None:
        if adapter is not None:
            raise AdapterInvalid(
                f"the model runs on {self._host}: a personal adapter serves with a model on this machine alone",
                'engine = "compiled" in config.toml, then: understudy runtime stop',
            )
        check_adapter(self.model, None, strength)

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        room = self.model.context_tokens - len(prompt.token_ids)
        body = self._wording.fields(prompt) | {
            "model": self.model.name,
            "max_tokens": min(sampling.max_tokens, room),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": True,
            "logprobs": 1,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop and self._sends_stops:
            body["stop"] = sampling.stop[:MAX_STOPS]
        return body

    def _choice(self, data: bytes) -> RemoteChoice:
        try:
            event = msgspec.json.decode(data, type=RemoteEvent)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise RemoteFailed(
                f"the remote server {self._host} sends what is no completion",
                f"is {self._host} an OpenAI-compatible server?",
            ) from None
        if event.error is not None:
            raise RemoteFailed(f"the remote server {self._host} failed in the middle of an answer")
        return event.choices[0] if event.choices else RemoteChoice()

    def _piece(self, choice: RemoteChoice, prompt: Prompt, text: Detokenizer) -> Piece:
        """A part of the completion, cut where it stops."""
        shown = "".join(text.push(byte) for byte in choice.text.encode("utf-8", "replace"))
        ids = tuple(choice.token_ids) if choice.token_ids is not None else self._wording.ids(choice.text)
        if any(i >= self.model.vocab_size for i in ids):
            raise RemoteFailed(
                f"the remote server {self._host} uses another vocabulary than the tokenizer in the settings"
            )
        stop = _stop(choice)
        ended = next((n for n, i in enumerate(ids) if i in prompt.stop_ids), None)
        if ended is not None:
            ids, stop = ids[:ended], Stop.END
        if text.stopped:
            stop = Stop.TEXT
        if stop is not None:
            shown += text.finish()
        return Piece(shown, ids, _logprobs(choice, len(ids)), stop)


def _stop(choice: RemoteChoice) -> Stop | None:
    """Why the server ended, if it did. It says `stop` of its own end and of a stop string, unless it says more."""
    if choice.finish_reason is None:
        return None
    if choice.finish_reason == "length":
        return Stop.LENGTH
    if choice.finish_reason != "stop":
        return Stop.CANCELLED
    return Stop.TEXT if choice.stop_kind == "text" or isinstance(choice.stop_reason, str) else Stop.END


def _logprobs(choice: RemoteChoice, n_tokens: int) -> tuple[float, ...]:
    """One per token id; if the server counts other tokens, its sum is spread evenly. Empty if it gives none."""
    given = [min(x, 0.0) for x in (choice.logprobs.token_logprobs if choice.logprobs else ()) if x is not None]
    given = [x for x in given if math.isfinite(x)]
    if not given or not n_tokens:
        return ()
    return tuple(given) if len(given) == n_tokens else (sum(given) / n_tokens,) * n_tokens
