"""Everything that the report tells, read from this machine: runs, their steps, what became of suggestions. No text of the user's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import msgspec

from local_runtime.records.outcomes import Fate, Outcome, read_outcomes
from trainer.nightly.context_gain import ContextGain, read_context_gain
from trainer.nightly.corpus import Learnt, read_learnt
from trainer.nightly.runs import Record, Run, Runs

STEPS = "steps.jsonl"
WHO = ("base", "serving", "candidate")
TAKEN = (Fate.ACCEPTED, Fate.PARTLY)


class StepLine(msgspec.Struct, frozen=True):
    """One line of a run's `steps.jsonl`."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Day:
    """What became of the suggestions of one day."""

    day: date
    n_shown: int
    n_accepted: int
    kept: float | None
    """Mean share of accepted tokens that stood later; None if nothing was measured."""

    @property
    def rate(self) -> float:
        """Accepted of shown, 0 to 1."""
        return self.n_accepted / self.n_shown if self.n_shown else 0.0


@dataclass(frozen=True, slots=True)
class Night:
    """One run, with what it leaves for the report."""

    record: Record
    steps: tuple[StepLine, ...] = ()
    learnt: Learnt | None = None
    context: ContextGain | None = None

    @property
    def judged(self) -> bool:
        """Whether the gate got as far as comparing losses."""
        return "candidate.loss" in self.metrics

    @property
    def metrics(self) -> dict[str, float]:
        """The gate's figures; see `trainer.gate.gate` for their names."""
        return self.record.verdict.metrics if self.record.verdict else {}

    def figure(self, who: str, measure: str, language: str = "") -> float | None:
        """One of the gate's figures, if it was measured."""
        found = self.metrics.get(f"{who}.{measure}.{language}" if language else f"{who}.{measure}")
        return found if found is not None and math.isfinite(found) else None

    @property
    def languages(self) -> list[str]:
        """Languages that the gate has figures of."""
        return sorted(name.removeprefix("base.loss.") for name in self.metrics if name.startswith("base.loss."))

    @property
    def gain(self) -> float | None:
        """By which share the candidate's loss lies below the base's."""
        mine, base = self.figure("candidate", "loss"), self.figure("base", "loss")
        return None if mine is None or not base else 1 - mine / base


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. Nights and days are oldest first."""

    nights: tuple[Night, ...]
    days: tuple[Day, ...]
    before: Day | None
    """All suggestions of the base together."""
    after: Day | None
    """All suggestions of personal adapters together."""
    left_out: dict[str, int]
    """Refused by the rules of hygiene, by reason."""
    waits: dict[str, int]
    """Times that the clock looked and did not begin, by reason."""

    @property
    def last_judged(self) -> Night | None:
        """The newest night with figures."""
        return next((night for night in reversed(self.nights) if night.judged), None)

    @property
    def last_trained(self) -> Night | None:
        """The newest night that trained."""
        return next((night for night in reversed(self.nights) if night.steps), None)

    @property
    def last_learnt(self) -> Night | None:
        """The newest night that had something to learn from."""
        return next((night for night in reversed(self.nights) if night.learnt and night.learnt.n_train), None)


def gather(runs: Runs, outcomes: Path, left_out: dict[str, int], waits: dict[str, int], since: float = 0.0) -> Evidence:
    """Read it all; what cannot be read is left out."""
    seen = read_outcomes(outcomes, since)
    return Evidence(
        tuple(_night(run) for run in runs if run.record.began >= since),
        tuple(days(seen)),
        _together([one for one in seen if not one.adapter]),
        _together([one for one in seen if one.adapter]),
        left_out,
        waits,
    )


def days(outcomes: Iterable[Outcome]) -> Iterator[Day]:
    """Suggestions that were seen, day by day in local time."""
    by_day: dict[date, list[Outcome]] = {}
    for one in outcomes:
        by_day.setdefault(datetime.fromtimestamp(one.shown_at).date(), []).append(one)
    for day in sorted(by_day):
        if (summed := _together(by_day[day])) is not None:
            yield summed


def _together(outcomes: list[Outcome]) -> Day | None:
    seen = [one for one in outcomes if one.fate is not Fate.UNSEEN]
    if not seen:
        return None
    taken = [one for one in seen if one.fate in TAKEN]
    kept = [share for one in taken if (share := _kept(one)) is not None]
    day = datetime.fromtimestamp(seen[-1].shown_at).date()
    return Day(day, len(seen), len(taken), sum(kept) / len(kept) if kept else None)


def _kept(one: Outcome) -> float | None:
    return one.kept_at_save if one.kept_at_save is not None else one.kept_after_30s


def _night(run: Run) -> Night:
    return Night(run.record, tuple(_steps(run.path / STEPS)), read_learnt(run.path), read_context_gain(run.path))


def _steps(path: Path) -> Iterator[StepLine]:
    """Whole lines; a run that was resumed may have written a step twice, and a killed one half a line."""
    found: dict[int, StepLine] = {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            try:
                step = msgspec.json.decode(line, type=StepLine)
            except msgspec.MsgspecError:
                continue
            if math.isfinite(step.loss):
                found[step.step] = step
    yield from (found[number] for number in sorted(found))
