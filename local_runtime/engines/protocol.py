"""The protocol that every engine keeps, and the values that cross it.

An engine is single-threaded: all calls come from one thread. `stream` and `score` are generators, and **between two
`next` calls at most one forward runs** (one prefill chunk, one decode or one verification). So whoever drives them decides
whose turn it is, and closing the generator cancels within one forward. `tests/engine_laws.py` holds every engine to this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable


class Stop(StrEnum):
    """Why a completion ended."""

    END = "end"  # the model produced a stop id
    TEXT = "text"  # a stop string appeared
    LENGTH = "length"  # max_tokens, or the context is full
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model sees. Made by `fim.py` alone."""

    token_ids: tuple[int, ...]
    stop_ids: frozenset[int] = frozenset()
    """Ids that end the completion; never part of its text."""
    healed: str = ""
    """Text taken off the prompt's end (token healing): the completion is made to begin with it, and it is not shown."""
    sequence: str = ""
    """Which document of which client this is: a hint for KV reuse, never needed for correctness."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. `temperature` 0 is greedy; `seed` makes sampling repeatable."""

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Strings that end the completion; never part of its text."""
    speculate: bool = True
    """Draft from n-grams of the prompt; changes speed, never the output."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A personal LoRA adapter on disk, checked against the base it was made for."""

    id: str
    """Content hash: two adapters with one id are byte for byte the same."""
    base_hash: str
    """`EngineModel.base_hash` of the float model it was learnt on; empty when the folder does not say."""
    path: Path
    rank: int
    targets: tuple[str, ...]
    """PEFT's module names, for example `q_proj`."""
    parent: str | None = None
    quantization: str = ""
    """Of the model whose very weights it was learnt on; empty when the folder does not say."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one forward brought. Empty while a prompt is prefilled."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Natural-log probability of each of `token_ids` under the unscaled distribution."""
    stop: Stop | None = None
    """Set on the last piece."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Log-probabilities (nats) of the next few tokens of a given target; empty while a prompt is prefilled."""

    logprobs: tuple[float, ...] = ()
    greedy: tuple[bool, ...] = ()
    """Whether each token is the one that greedy decoding would have chosen."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished stream, summed up."""

    text: str
    stop: Stop
    n_tokens: int
    first_token_ms: float
    total_ms: float
    adapter_id: str | None
    logprob: float
    """Mean log-probability per token (nats); 0 for an empty completion."""


@dataclass(frozen=True, slots=True)
class EngineModel:
    """What an engine serves."""

    name: str
    base_hash: str
    """Hash of the float model's weights and configuration: kin quantisations share it; adapters are bound to it."""
    folder: Path | None
    """The model folder, whose tokenizer `fim.py` uses; None for an engine without one."""
    context_tokens: int
    vocab_size: int
    quantization: str
    device: str
    details: dict[str, str] = field(default_factory=dict)
    scores: bool = True
    """Whether `Engine.score` works; servers of others have no such thing."""


class Engine(Protocol):
    """A model that completes and scores. See the module docstring for the laws."""

    model: EngineModel

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        """Complete `prompt`. Raises BadRequest for an empty or too long prompt, AdapterInvalid before the first piece."""
        ...

    def score(
        self, prompt: Prompt, target: tuple[int, ...], adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[TokenScore]:
        """Log-probability of each id of `target` after `prompt`; the concatenation of all pieces has `len(target)`."""
        ...

    def close(self) -> None:
        """Give back memory and threads. The engine is not used afterwards."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """An engine that keeps adapters ready beside the weights."""

    def keeps(self, adapter: Adapter) -> bool:
        """Whether it fits and is ready: the next request with it reads nothing. Any thread may ask."""
        ...


@runtime_checkable
class Merging(Protocol):
    """An engine whose adapters become part of the weights before they serve."""

    def prepare(self, adapter: Adapter | None, strength: float = 1.0) -> Iterator[None]:
        """Have exactly this serve, step by step. What served before goes on until then, and if it fails."""
        ...
