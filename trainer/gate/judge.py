"""Who scores and completes for the gate: an engine in this process, or the daemon that serves, as background work.

Both show the model what a completion at that place would show it, and both run the adapter beside the quantised weights
as serving does: what is judged is byte for byte what is served.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from local_runtime.client.client import Ask, Client
from local_runtime.client.wire import BASE
from local_runtime.engines.protocol import Adapter, Engine, Prompt, Sampling, Stop
from local_runtime.errors import AdapterInvalid, NotReady
from local_runtime.places import places
from local_runtime.prompts.fim import DEFAULT_BUDGET, FimTokenizer
from trainer.edits import Example

COMPLETION_TOKENS = 64
"""The daemon's own default, so that prompts get the same room."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a model thought of the text that was really there."""

    logprobs: tuple[float, ...]
    """Nats, one per token of the text."""
    greedy: tuple[bool, ...]
    """Whether each is the token that greedy decoding would have chosen."""
    ends: bool
    """Whether greedy decoding would end after the text."""

    @property
    def nats(self) -> float:
        """Negative log-likelihood of the whole text."""
        return -sum(self.logprobs)


@dataclass(frozen=True, slots=True)
class Said:
    """A greedy completion, free to run on."""

    text: str
    n_tokens: int
    ms: float
    ended: bool
    """Whether the model ended it by itself."""


class Judge(Protocol):
    """A model that the gate can ask. `adapter` None is the base."""

    base_hash: str
    """Of the model that is asked: `EngineModel.base_hash`."""

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        """How likely `example.middle` is in its hole. Raises AdapterInvalid; what an adapter broke may be NaN."""
        ...

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        """What would be suggested there."""
        ...


class EngineJudge:
    """An engine in this process, for simulations and replays. All calls come from the engine's thread."""

    def __init__(self, engine: Engine, fim: FimTokenizer) -> None:
        self.base_hash = engine.model.base_hash
        self.engine = engine
        self.fim = fim

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        """As the daemon's `/v1/score`: a target too long for its prompt takes room from it."""
        context_tokens = self.engine.model.context_tokens
        prompt = self._prompt(example, context_tokens - COMPLETION_TOKENS)
        target = self.fim.target(prompt, example.middle)
        room = context_tokens - len(target)
        if len(prompt.token_ids) > room:
            prompt = self._prompt(example, room)
            target = self.fim.target(prompt, example.middle)
        pieces = list(self.engine.score(prompt, target, adapter, strength))
        logprobs = tuple(logprob for piece in pieces for logprob in piece.logprobs)
        greedy = tuple(chosen for piece in pieces for chosen in piece.greedy)
        return Score(logprobs[:-1], greedy[:-1], greedy[-1])

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        """Greedy, up to the model's own end."""
        prompt = self._prompt(example, self.engine.model.context_tokens - COMPLETION_TOKENS)
        began = time.perf_counter()
        pieces = list(self.engine.stream(prompt, Sampling(max_tokens=COMPLETION_TOKENS), adapter, strength))
        ms = (time.perf_counter() - began) * 1000
        n_tokens = sum(len(piece.token_ids) for piece in pieces)
        return Said("".join(piece.text for piece in pieces), n_tokens, ms, pieces[-1].stop is Stop.END)

    def _prompt(self, example: Example, budget_tokens: int) -> Prompt:
        return self.fim.prompt(example.hole, example.chunks, DEFAULT_BUDGET.within(budget_tokens, 0))


@contextmanager
def compiled_judge(model: str) -> Iterator[EngineJudge]:
    """The compiled engine in this process, for a model whose own engine cannot score. Raises as opening it does.

    It runs the adapter beside the weights: where another engine merges it, what is judged is not what merging leaves of it.
    """
    from local_runtime.tvm.run.opening import open_engine  # noqa: PLC0415 - a night with the daemon loads no kernels

    engine = open_engine(model)
    assert engine.model.folder is not None
    try:
        yield EngineJudge(engine, FimTokenizer.open(engine.model.folder))
    finally:
        engine.close()


class DaemonJudge:
    """The daemon that serves, asked as background work: the model is in memory once, and a person never waits for it.

    Adapters are folders below the adapters folder, named in each request, so what serves goes on serving.
    """

    def __init__(self, client: Client, adapters: Path | None = None) -> None:
        """Waits for the daemon's model. Raises DaemonUnreachable, NotReady."""
        card = client.wait_ready().model
        if card is None:
            raise NotReady("the daemon says that it is ready, but not with which model", "understudy runtime status")
        self.base_hash = card.base_hash
        self._client = client
        self._adapters = (adapters or places().adapters).resolve()

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        """By `/v1/score`. Raises AdapterInvalid if the daemon has another adapter under that name, or got no numbers."""
        ask = self._ask(adapter, strength)
        try:
            reply = self._client.score(example.hole, example.middle, example.chunks, ask)
        except msgspec.ValidationError:
            raise AdapterInvalid(f"{ask.adapter}: the model gives no numbers with it") from None
        _check_same(adapter, reply.adapter_id)
        n_text = len(reply.logprobs) - reply.ended
        return Score(tuple(reply.logprobs[:n_text]), tuple(reply.greedy[:n_text]), reply.ended and reply.greedy[-1])

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        """By `/v1/completions`."""
        sampling = Sampling(max_tokens=COMPLETION_TOKENS)
        try:
            said = self._client.complete(example.hole, example.chunks, sampling, self._ask(adapter, strength))
        except msgspec.ValidationError:
            raise AdapterInvalid("the model gives no numbers with the adapter") from None
        _check_same(adapter, said.adapter_id)
        return Said(said.text, said.n_tokens, said.total_ms, said.stop is Stop.END)

    def _ask(self, adapter: Adapter | None, strength: float) -> Ask:
        if adapter is None:
            return Ask(adapter=BASE, strength=1.0, background=True)
        try:
            name = adapter.path.resolve().relative_to(self._adapters).as_posix()
        except ValueError:
            raise AdapterInvalid(
                f"{adapter.path} is not below {self._adapters}: the daemon loads adapters from there alone"
            ) from None
        return Ask(adapter=name, strength=strength, background=True)


def _check_same(adapter: Adapter | None, found: str | None) -> None:
    wanted = adapter.id if adapter else None
    if found != wanted:
        raise AdapterInvalid(f"the daemon answered with adapter {found}, asked for {wanted}")
