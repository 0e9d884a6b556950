"""How far a judgement is: counted question by question, told while it goes on, seen from outside; ended when nobody waits."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from local_runtime.adapters.shelf import Choice
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import EngineDied
from local_runtime.prompts.hole import Hole
from trainer.edits import Example
from trainer.gate.judge import Said, Score
from trainer.nightly import interruptible_judge
from trainer.nightly import judging as judgings
from trainer.nightly.events import Event
from trainer.nightly.interruptible_judge import InterruptibleJudge
from trainer.nightly.judging import judging
from trainer.nightly.progress import show
from trainer.nightly.runs import Reason, Record, Stage
from trainer.nightly.trainer_lock import LockWanted

PLACE = Example(Hole("a.py", "python", "x = ", "\n"), "1", 0.0)
RECORD = Record(id="r", reason=Reason.FIRST, model="m", base_hash="b", began=1e9)


class Answering:
    """A judge that does something before each answer."""

    base_hash = "b"

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self._before = before

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        self._before()
        return Score((-1.0,), (True,), True)

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        self._before()
        return Said("1", 1, 1.0, True)


@pytest.fixture(autouse=True)
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruptible_judge, "TELL_SECONDS", 0.01)


def test_questions_are_counted_while_they_are_asked() -> None:
    third = threading.Event()
    judge = InterruptibleJudge(Answering(lambda: third.wait(30) if judge.n_asked == 3 else None), lambda: None)  # type: ignore[arg-type, return-value]
    counts = judge.counted(lambda: [judge.score(PLACE, None).nats for _ in range(5)])
    while next(counts) < 3:
        pass
    third.set()
    with pytest.raises(StopIteration) as end:
        while True:
            next(counts)
    assert end.value.value == [1.0] * 5
    assert judge.n_asked == 5


def test_a_judgement_that_nobody_waits_for_ends_at_its_next_question() -> None:
    judge = InterruptibleJudge(Answering(), lambda: None)
    ended = threading.Event()

    def ask_for_ever() -> None:
        try:
            while True:
                judge.complete(PLACE, None)
        finally:
            ended.set()

    with closing(judge.counted(ask_for_ever)) as counts:
        next(counts)
    assert ended.is_set()


@pytest.mark.parametrize("fault", [EngineDied("gone"), LockWanted("forget")])
def test_what_goes_wrong_while_judging_is_raised(fault: Exception) -> None:
    def wrong() -> None:
        raise fault

    judge = InterruptibleJudge(Answering(wrong), lambda: None)
    with pytest.raises(type(fault)):
        list(judge.counted(lambda: judge.score(PLACE, None)))


def test_a_judgement_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event has the stage and a share that grows up to one."""
    asked = [0]
    told = threading.Event()
    monkeypatch.setattr(judgings, "general_examples", lambda at_most: [PLACE] * 20)

    def wait_until_told() -> None:
        asked[0] += 1
        if asked[0] == 10:
            told.wait(30)

    pool = [Example(PLACE.hole, f"value_{n}", float(n), edit_id=n) for n in range(1, 61)]
    candidate = Choice("candidates/1", Adapter("1", "b", tmp_path, 4, ("q_proj",)))
    monkeypatch.setattr("trainer.gate.gate.largest_row_norm", lambda adapter: (0.1, "q_proj"))
    seen = []
    for event in judging(lambda: nullcontext(Answering(wait_until_told)), candidate, Choice(), pool, []):
        seen.append(event)
        if event.done:
            told.set()
    counts = [(event.done, event.total) for event in seen if event.done is not None]
    assert {event.stage for event in seen} == {Stage.GATE}
    assert counts == sorted(counts)
    assert any(done and total and 0 < done <= total for done, total in counts)
    assert all(event.step is None for event in seen)


def test_a_terminal_shows_a_bar_and_a_pipe_a_line() -> None:
    def night() -> Iterator[Event]:
        yield Event(Stage.GATE, "question 40 of 120", 40, 120)
        yield Event(Stage.DONE, "the base goes on serving", record=RECORD)

    piped, screen = io.StringIO(), io.StringIO()
    show(Console(file=piped), night())
    assert "gate  question 40 of 120" in piped.getvalue()
    show(Console(file=screen, force_terminal=True, width=80), night())
    assert "judging" in screen.getvalue()
    assert "40/120" in screen.getvalue()
