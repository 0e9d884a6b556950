"""The night's judgement, while it is told how far it is: the gate, and then the figures that only the report wants."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import TypeVar

from local_runtime.adapters.shelf import Choice
from trainer.edits import Example, Verdict
from trainer.gate import gate
from trainer.gate.judge import Judge
from trainer.gate.pool import general_examples
from trainer.gate.thresholds import THRESHOLDS
from trainer.nightly import context_gain
from trainer.nightly.context_gain import ContextGain
from trainer.nightly.events import Event
from trainer.nightly.interruptible_judge import InterruptibleJudge
from trainer.nightly.runs import Stage
from trainer.nightly.trainer_lock import leave_if_wanted

_T = TypeVar("_T")


def judging(
    open_judge: Callable[[], AbstractContextManager[Judge]],
    candidate: Choice,
    serving: Choice,
    pool: Sequence[Example],
    trained_on: Sequence[Example],
    *,
    judged_places: int | None = None,
) -> Generator[Event, None, tuple[Verdict, ContextGain | None]]:
    """Ask the judge; returns the gate's verdict, and what retrieved pieces bring if it came that far.

    `judged_places`: so many held-out hunks, and of the general set, at most.

    Raises LockWanted, and what the judge raises.
    """
    assert candidate.adapter is not None
    adapter, general = candidate.adapter, general_examples(judged_places)
    limits = replace(THRESHOLDS, max_hunks=judged_places or THRESHOLDS.max_hunks)
    yield Event(Stage.GATE, f"judging it on {len(pool)} held-out places, against the base and what serves")
    others = {"base": gate.BASE} | ({"serving": serving} if serving.adapter is not None else {})
    total = gate.n_questions(serving, pool, general, trained_on, limits)
    with open_judge() as judge:
        watchful = InterruptibleJudge(judge, leave_if_wanted)

        def judged() -> tuple[Verdict, ContextGain | None]:
            verdict = gate.judge(adapter, serving, pool, general, watchful, trained_on=trained_on, thresholds=limits)
            if "candidate.loss" not in verdict.metrics:
                return verdict, None
            contenders = others | {"candidate": Choice(candidate.name, adapter, verdict.strength)}
            return verdict, context_gain.measure(pool, contenders, watchful)

        with closing(watchful.counted(judged)) as counts:
            return (yield from _told(counts, total + context_gain.n_questions(pool, len(others) + 1) if total else 0))


def _told(counts: Generator[int, None, _T], total: int) -> Generator[Event, None, _T]:
    """The number of questions so far as events; what they came to. Nothing is told of a judgement without questions."""
    while True:
        try:
            n = next(counts)
        except StopIteration as end:
            result: _T = end.value
            return result
        if total:
            yield Event(Stage.GATE, f"question {n} of {max(n, total)}", n, max(n, total))
