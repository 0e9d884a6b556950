"""A night as it is told: a bar in a terminal; through a pipe, where an editor reads it, and in the log a line now and then."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from night_worlds import AWAY, BEGAN, learn_from
from rich.console import Console

from local_runtime.errors import NotReady
from trainer.nightly.clock import Clock
from trainer.nightly.events import Event
from trainer.nightly.options import LearnOptions
from trainer.nightly.progress import show
from trainer.nightly.runs import Reason, Record, Stage

RECORD = Record(
    id="1", reason=Reason.FIRST, model="m", base_hash="h", began=0.0, threads=1, preset="p", parent=None, serving=None
)


def night() -> Iterator[Event]:
    yield Event(Stage.TUNE, "training from the base")
    yield Event(Stage.TUNE, "step 1 of 2", 1, 2, 3.5)
    yield Event(Stage.DONE, "the base goes on serving", record=RECORD)


def test_through_a_pipe_every_step_is_a_line() -> None:
    said = io.StringIO()
    assert show(Console(file=said), night()) is RECORD
    assert [line.split(maxsplit=1) for line in said.getvalue().strip().splitlines()] == [
        ["tune", "training from the base"],
        ["tune", "step 1 of 2"],
        ["done", "the base goes on serving"],
    ]


def long_night() -> Iterator[Event]:
    yield Event(Stage.TUNE, "training from the base")
    yield from (Event(Stage.TUNE, f"step {n} of 40", n, 40, 3.5) for n in range(7, 41))  # taken up at the seventh
    yield Event(Stage.TUNE, "it stands still: you are typing", paused=True)
    yield from (Event(Stage.GATE, f"question {n} of 1128", n, 1128) for n in range(1, 1129))
    yield from (Event(Stage.GATE, f"question {n} of {n}", n, n) for n in range(1129, 1140))  # more than was thought
    yield Event(Stage.DONE, "the base goes on serving", record=RECORD)


def test_many_questions_are_a_line_for_each_twentieth_through_a_pipe() -> None:
    said = io.StringIO()
    show(Console(file=said), long_night())
    lines = [line for line in said.getvalue().splitlines() if line.strip()]
    steps, questions = ([line for line in lines if word in line] for word in ("step ", "question "))
    assert [line.split()[2] for line in steps] == [str(n) for n in (7, *range(8, 41, 2))]
    assert len(questions) == 21
    assert "question 1 of" in questions[0]
    assert "question 1128 of" in questions[-1]
    assert len(lines) == len(steps) + len(questions) + 3  # nothing else is left out


def test_the_log_of_the_login_service_says_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    learn_from(tmp_path / "shop")
    caplog.set_level(logging.INFO)
    assert Clock(
        LearnOptions(from_hour=0, until_hour=0, min_free_mb=0, max_load=1e9),
        lambda: AWAY,
        long_night,
        lambda: BEGAN + 1e7,
    ).tick()
    assert sum("question" in line for line in caplog.messages) == 21


def test_in_a_terminal_steps_move_a_bar() -> None:
    said = io.StringIO()
    show(Console(file=said, force_terminal=True, width=80), night())
    assert "step 1 of 2" not in said.getvalue()
    assert "the base goes on serving" in said.getvalue()


def test_a_night_without_a_result_is_told() -> None:
    with pytest.raises(NotReady, match="without a result"):
        show(Console(file=io.StringIO()), iter([Event(Stage.COLLECT, "looking")]))
