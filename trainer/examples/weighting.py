"""How much an example counts, by what became of the suggestions that were shown at its place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from local_runtime.records.outcomes import Outcome, training_weight
from trainer.edits import EditEvent, Example

NEAR_LINES = 3
SINCE_SECONDS = 4 * 3600.0
"""A suggestion belongs to the edit that was saved within this time after it."""


class Weights:
    """Suggestions by file; `of` finds those at an example's place."""

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self._of_path: defaultdict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            self._of_path[outcome.path].append(outcome)

    def of(self, edit: EditEvent, example: Example) -> float:
        """The example's weight times the mean `training_weight` of what was shown there before the edit was saved."""
        line = example.hole.prefix.count("\n")
        near = [
            training_weight(outcome)
            for outcome in self._of_path.get(edit.path, ())
            if abs(outcome.line - line) <= NEAR_LINES and 0 <= edit.saved - outcome.shown_at <= SINCE_SECONDS
        ]
        return example.weight * (sum(near) / len(near) if near else 1.0)
