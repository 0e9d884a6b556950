"""A judge that can be called away between two questions, and that counts them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from local_runtime.engines.protocol import Adapter
from trainer.edits import Example
from trainer.gate.judge import Judge, Said, Score

TELL_SECONDS = 1.0
_T = TypeVar("_T")


class CalledAway(Exception):
    """Nobody waits for the answer any more."""


class InterruptibleJudge:
    """Asks `leave_if_wanted` before each question, which raises when the night has to end."""

    def __init__(self, judge: Judge, leave_if_wanted: Callable[[], None]) -> None:
        self.base_hash = judge.base_hash
        self.n_asked = 0
        self._judge = judge
        self._leave_if_wanted = leave_if_wanted
        self._is_closed = False

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        """As the judge does."""
        self._before_a_question()
        return self._judge.score(example, adapter, strength)

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        """As the judge does."""
        self._before_a_question()
        return self._judge.complete(example, adapter, strength)

    def counted(self, work: Callable[[], _T]) -> Generator[int, None, _T]:
        """Do what asks this judge, in a thread; yields about once a second how many questions that were, and returns its result.

        Closing the generator ends the work at its next question. Raises what the work raises.
        """
        with ThreadPoolExecutor(1, "judging") as thread:
            result = thread.submit(work)
            try:
                while not wait([result], TELL_SECONDS).done:
                    yield self.n_asked
                return result.result()
            finally:
                self._is_closed = True

    def _before_a_question(self) -> None:
        if self._is_closed:
            raise CalledAway
        self._leave_if_wanted()
        self.n_asked += 1
