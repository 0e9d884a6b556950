"""An engine without a model, for tests: it says what it was told to say, and remembers what it was asked.

It keeps every law of `local_runtime.engines.protocol`: a delay is a row of short forwards, so a cancel still takes effect within one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from local_runtime.engines.admission import check_adapter, check_prompt, check_sampling, check_target
from local_runtime.engines.detokenizer import Detokenizer
from local_runtime.engines.protocol import Adapter, EngineModel, Piece, Prompt, Sampling, Stop, TokenScore
from local_runtime.engines.vocabulary import Vocabulary

SCORED_PER_FORWARD = 16
N_SPECIAL_IDS = 64


@dataclass(frozen=True, slots=True)
class Script:
    """What to do with one request."""

    pieces: tuple[str, ...] | None = None
    """The completion, one piece a forward; None repeats the last line of the prompt."""
    first_delay_ms: float = 0.0
    """Time before the first piece."""
    delay_ms: float = 0.0
    """Time before each further piece."""
    hold: threading.Event | None = field(default=None, compare=False)
    """Nothing comes before this event is set: waiting without a clock."""
    failure: Exception | None = None
    """Raised after the last piece, in place of an ordinary end."""
    logprob: float = -0.25
    """Log-probability of every token (nats)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: a stream, or a score of `target`."""

    prompt: Prompt
    sampling: Sampling | None
    target: tuple[int, ...] | None
    adapter: Adapter | None
    strength: float


class EchoEngine:
    """Scripted pieces, delays and failures. Without a model folder, token ids are bytes (256 and above: special)."""

    def __init__(
        self,
        scripts: tuple[Script, ...] = (),
        *,
        default: Script | None = None,
        folder: Path | None = None,
        vocab_size: int = 256 + N_SPECIAL_IDS,
        context_tokens: int = 8192,
        forward_ms: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = EngineModel("echo", "echo", folder, context_tokens, vocab_size, "none", "none")
        self.default = default or Script()
        """What happens when the queue is empty."""
        self.requests: list[Request] = []
        self.forwards = 0
        self.aborts = 0
        self.closed = False
        self._queue = deque(scripts)
        self._forward_ms = forward_ms
        self._sleep = sleep
        self._vocabulary = Vocabulary.read(folder, vocab_size) if folder else Vocabulary.of_bytes(vocab_size)
        self._encode = _encoder(folder) if folder else lambda text: tuple(text.encode())

    def enqueue(self, *scripts: Script) -> None:
        """Add scripts for the next streams, one each."""
        self._queue.extend(scripts)

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        """Say what the next script says."""
        self.requests.append(Request(prompt, sampling, None, adapter, strength))
        check_prompt(self.model, prompt)
        check_sampling(sampling)
        check_adapter(self.model, adapter, strength)
        script = self._queue.popleft() if self._queue else self.default
        try:
            yield from self._say(script, prompt, sampling)
        except GeneratorExit:
            self.aborts += 1
            raise

    def score(
        self, prompt: Prompt, target: tuple[int, ...], adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[TokenScore]:
        """Every token has the default script's log-probability; greedy are those that it would say."""
        self.requests.append(Request(prompt, None, target, adapter, strength))
        check_prompt(self.model, prompt)
        check_target(self.model, prompt, target)
        check_adapter(self.model, adapter, strength)
        said = tuple(i for piece in self._pieces(self.default, prompt) for i in piece)
        for start in range(0, len(target), SCORED_PER_FORWARD):
            self.forwards += 1
            chunk = target[start : start + SCORED_PER_FORWARD]
            expected = said[start : start + SCORED_PER_FORWARD] + (-1,) * len(chunk)
            greedy = tuple(a == b for a, b in zip(chunk, expected, strict=False))
            yield TokenScore((self.default.logprob,) * len(chunk), greedy)

    def close(self) -> None:
        """Remember that the engine was closed."""
        self.closed = True

    def _say(self, script: Script, prompt: Prompt, sampling: Sampling) -> Iterator[Piece]:
        room = min(sampling.max_tokens, self.model.context_tokens - len(prompt.token_ids))
        text = Detokenizer(self._vocabulary, sampling.stop, prompt.healed)
        pieces = self._pieces(script, prompt)
        yield from self._wait(script.first_delay_ms, script.hold)
        for n, ids in enumerate(pieces):
            if n:
                yield from self._wait(script.delay_ms, None)
            self.forwards += 1
            shown, stop, said = "", None, []
            for i in ids:
                if i in prompt.stop_ids:
                    stop = Stop.END
                    break
                said.append(i)
                shown += text.push(i)
                room -= 1
                if text.stopped or not room:
                    stop = Stop.TEXT if text.stopped else Stop.LENGTH
                    break
            if stop is None and n == len(pieces) - 1 and not script.failure:
                stop = Stop.END
            if stop is not None:
                shown += text.finish()
            yield Piece(shown, tuple(said), (script.logprob,) * len(said), stop)
            if stop is not None:
                return
        if script.failure:
            raise script.failure
        self.forwards += 1
        yield Piece(stop=Stop.END)

    def _wait(self, delay_ms: float, hold: threading.Event | None) -> Iterator[Piece]:
        """Empty forwards, none longer than `forward_ms`, until the event is set and the delay is over."""
        while hold is not None and not hold.wait(self._forward_ms / 1000):
            self.forwards += 1
            yield Piece()
        while delay_ms > 0:
            self.forwards += 1
            self._sleep(min(delay_ms, self._forward_ms) / 1000)
            delay_ms -= self._forward_ms
            yield Piece()

    def _pieces(self, script: Script, prompt: Prompt) -> list[tuple[int, ...]]:
        """Ids of each scripted piece; the text that was healed off comes first, as from a real model."""
        texts = list((self._last_line(prompt),) if script.pieces is None else script.pieces)
        if prompt.healed:
            texts[:1] = [prompt.healed + (texts[0] if texts else "")]
        return [self._encode(text) for text in texts]

    def _last_line(self, prompt: Prompt) -> str:
        """The last line of the prompt that has something on it."""
        data = b"".join(self._vocabulary.token_bytes[i] for i in prompt.token_ids)
        lines = data.decode("utf-8", "ignore").splitlines()
        return next(islice((line for line in reversed(lines) if line.strip()), 1), "")


def _encoder(folder: Path) -> Callable[[str], tuple[int, ...]]:
    """Text to ids by the folder's tokenizer, without the tokens it would put around a whole text."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - only an engine with a folder needs it

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: tuple(tokenizer.encode(text, add_special_tokens=False).ids)
