"""A night as it is told: a bar in a terminal, a line per step through a pipe, where an editor reads it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from local_runtime.errors import NotReady
from trainer.nightly.events import Event
from trainer.nightly.progress import show
from trainer.nightly.runs import Record
from trainer.nightly.stages import Reason, Stage

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


def test_in_a_terminal_steps_move_a_bar() -> None:
    said = io.StringIO()
    show(Console(file=said, force_terminal=True, width=80), night())
    assert "step 1 of 2" not in said.getvalue()
    assert "the base goes on serving" in said.getvalue()


def test_a_night_without_a_result_is_told() -> None:
    with pytest.raises(NotReady, match="without a result"):
        show(Console(file=io.StringIO()), iter([Event(Stage.COLLECT, "looking")]))
