"""A judge that can be called away between two questions."""

from __future__ import annotations

from collections.abc import Callable

from local_runtime.engine import Adapter
from trainer.edits import Example
from trainer.gate.judge import Judge, Said, Score


class WatchfulJudge:
    """Asks `leave_if_wanted` before each question, which raises when the night has to end."""

    def __init__(self, judge: Judge, leave_if_wanted: Callable[[], None]) -> None:
        self.base_hash = judge.base_hash
        self._judge = judge
        self._leave_if_wanted = leave_if_wanted

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        """As the judge does."""
        self._leave_if_wanted()
        return self._judge.score(example, adapter, strength)

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        """As the judge does."""
        self._leave_if_wanted()
        return self._judge.complete(example, adapter, strength)
