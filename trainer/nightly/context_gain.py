"""What retrieved pieces bring on top of the adapter, and the adapter on top of them: the pool scored with and without."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from local_runtime.adapters.shelf import Choice
from local_runtime.durable_file import write_durably
from trainer.edits import Example
from trainer.gate.judge import Judge

FILE = "figures.json"
MAX_EXAMPLES = 40


class ContextGain(msgspec.Struct, frozen=True):
    """Loss in nats per byte, by contender (`base`, `serving`, `candidate`), and the share of spans said exactly."""

    n: int
    with_pieces: dict[str, float]
    without: dict[str, float]
    exact_with: dict[str, float] = {}
    exact_without: dict[str, float] = {}


def measure(pool: Sequence[Example], contenders: Mapping[str, Choice], judge: Judge) -> ContextGain | None:
    """On the newest places that have related pieces at all; None if there are none. For the report: it decides nothing."""
    chosen = _chosen(pool)
    if not chosen:
        return None
    bare = [replace(one, chunks=()) for one in chosen]
    found = {
        name: {who: _loss_and_exact(examples, choice, judge) for who, choice in contenders.items()}
        for name, examples in (("with", chosen), ("without", bare))
    }
    return ContextGain(
        len(chosen),
        {who: loss for who, (loss, _) in found["with"].items()},
        {who: loss for who, (loss, _) in found["without"].items()},
        {who: exact for who, (_, exact) in found["with"].items()},
        {who: exact for who, (_, exact) in found["without"].items()},
    )


def n_questions(pool: Sequence[Example], n_contenders: int) -> int:
    """How many questions `measure` asks."""
    return 2 * n_contenders * len(_chosen(pool))


def _chosen(pool: Sequence[Example]) -> list[Example]:
    return [one for one in pool if one.chunks][-MAX_EXAMPLES:]


def _loss_and_exact(examples: Sequence[Example], choice: Choice, judge: Judge) -> tuple[float, float]:
    nats, n_bytes, n_exact = 0.0, 0, 0
    for example in examples:
        score = judge.score(example, choice.adapter, choice.strength)
        nats += score.nats if math.isfinite(score.nats) else 0.0
        n_bytes += len(example.middle.encode("utf-8", "replace"))
        n_exact += all(score.greedy) and score.ends  # greedy decoding would say this and stop
    return nats / max(1, n_bytes), n_exact / len(examples)


def write_context_gain(run: Path, gain: ContextGain) -> None:
    """Keep it for the report."""
    write_durably(run / FILE, msgspec.json.encode(gain))


def read_context_gain(run: Path) -> ContextGain | None:
    """A run's figures; None if there are none."""
    try:
        return msgspec.json.decode((run / FILE).read_bytes(), type=ContextGain)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
