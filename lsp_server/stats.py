"""Numbers from what became of suggestions. Pure: outcomes and answers in, a summary out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from local_runtime.records.outcomes import Answer, Fate, Outcome

ACCEPTED = (Fate.ACCEPTED, Fate.PARTLY)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One group of suggestions: all, a language, an adapter."""

    n_shown: int
    """Seen long enough to be read."""
    n_accepted: int
    n_typed: int
    kept_rate: float | None
    """Mean share of accepted tokens that still stood at save (else after 30 s); None if nothing was measured."""
    n_chars_saved: int

    @property
    def rate(self) -> float:
        """Accepted of shown, 0 to 1."""
        return self.n_accepted / self.n_shown if self.n_shown else 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from request to answer."""

    n: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What `understudy stats` shows."""

    total: Acceptance
    by_language: dict[str, Acceptance]
    by_adapter: dict[str, Acceptance]
    latency: dict[str, Latency]
    """By source, and `all`."""
    skips: dict[str, int]
    """How often nothing was shown, by reason, most frequent first."""


def summary(outcomes: Iterable[Outcome], answers: Iterable[Answer]) -> Summary:
    """Sum it all up."""
    seen = [one for one in outcomes if one.fate is not Fate.UNSEEN]
    asked = list(answers)
    shown = [answer for answer in asked if answer.source and not answer.skip]
    return Summary(
        total=_acceptance(seen),
        by_language={name: _acceptance(group) for name, group in _groups(seen, "language").items()},
        by_adapter={name or "base": _acceptance(group) for name, group in _groups(seen, "adapter").items()},
        latency={
            "all": _latency(shown),
            **{
                source: _latency([a for a in shown if a.source == source])
                for source in sorted({a.source for a in shown})
            },
        },
        skips=dict(Counter(answer.skip for answer in asked if answer.skip).most_common()),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))] if ordered else 0.0


def _acceptance(outcomes: Sequence[Outcome]) -> Acceptance:
    kept = [
        share
        for one in outcomes
        if (share := one.kept_at_save if one.kept_at_save is not None else one.kept_after_30s) is not None
    ]
    return Acceptance(
        n_shown=len(outcomes),
        n_accepted=sum(one.fate in ACCEPTED for one in outcomes),
        n_typed=sum(one.fate is Fate.TYPED for one in outcomes),
        kept_rate=sum(kept) / len(kept) if kept else None,
        n_chars_saved=sum(one.n_accepted_chars for one in outcomes if not one.is_undone),
    )


def _latency(answers: Sequence[Answer]) -> Latency:
    values = [answer.latency_ms for answer in answers]
    return Latency(len(values), percentile(values, 0.5), percentile(values, 0.95))


def _groups(outcomes: Sequence[Outcome], field: str) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(str(getattr(one, field)), []).append(one)
    return dict(sorted(groups.items()))
