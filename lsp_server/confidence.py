"""When to stay silent: below the mean log-probability from which this user accepts too little, learned per language.

Showing is worth `GAIN` if it is accepted and costs `COST` if it is not (a glance); the threshold is the one that would have
been worth most over the recent suggestions. It is off until there are enough of both kinds, and every `EXPLORE`-th answer below
it is shown all the same: what is never shown could never be seen to have become good.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

GAIN = 0.9
COST = 0.1
N_RECENT = 400
N_OF_EACH_KIND = 25
EXPLORE = 12


def threshold(shown: Iterable[tuple[float, bool]]) -> float | None:
    """The threshold for (mean log-probability, accepted) of recent suggestions; None while there are too few, or none helps."""
    ordered = sorted(shown, reverse=True)
    n_accepted = sum(accepted for _, accepted in ordered)
    if min(n_accepted, len(ordered) - n_accepted) < N_OF_EACH_KIND:
        return None
    worth, best, best_at = 0.0, -math.inf, len(ordered) - 1
    for at, (logprob, accepted) in enumerate(ordered):
        worth += GAIN if accepted else -COST
        last_of_its_kind = at + 1 == len(ordered) or ordered[at + 1][0] < logprob
        if worth >= best and last_of_its_kind:
            best, best_at = worth, at
    return None if best_at == len(ordered) - 1 else ordered[best_at][0]


class Confidence:
    """The thresholds of one user, by language; fed with what became of suggestions."""

    def __init__(self, history: Iterable[tuple[str, float, bool]] = ()) -> None:
        self._recent: dict[str, deque[tuple[float, bool]]] = {}
        self._thresholds: dict[str, float | None] = {}
        self._n_silent: dict[str, int] = {}
        for language, logprob, accepted in history:
            self._of(language).append((logprob, accepted))

    def learn(self, language: str, logprob: float, accepted: bool) -> None:
        """A suggestion was accepted, or was not."""
        self._of(language).append((logprob, accepted))
        self._thresholds.pop(language, None)

    def threshold(self, language: str) -> float | None:
        """The threshold of a language now."""
        if language not in self._thresholds:
            self._thresholds[language] = threshold(self._of(language))
        return self._thresholds[language]

    def is_enough(self, language: str, logprob: float) -> bool:
        """Whether to show an answer of this mean log-probability."""
        limit = self.threshold(language)
        if limit is None or logprob >= limit:
            return True
        self._n_silent[language] = self._n_silent.get(language, 0) + 1
        return self._n_silent[language] % EXPLORE == 0

    def forget(self) -> None:
        """Begin anew."""
        self._recent.clear()
        self._thresholds.clear()

    def _of(self, language: str) -> deque[tuple[float, bool]]:
        return self._recent.setdefault(language, deque(maxlen=N_RECENT))
