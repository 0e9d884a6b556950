"""What goes on beside the editor: a night, whoever began it, and the trainer's commands that it started itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model
from echo_daemon import EchoDaemon
from editor import Editor, Message

from local_runtime.places import folder, places
from lsp_server.background import fault_told, night_outcome
from trainer.nightly.events import Event
from trainer.nightly.progress_note import noted
from trainer.nightly.runs import Stage

WITHOUT_RUNTIME = {"startRuntime": False}
SHOW_MESSAGE, WARNING, INFO = "window/showMessage", 2, 3
TRAINING_SECONDS = 300.0
"""PyTorch is loaded, at the lowest priority."""


def is_night(message: Message, night: object) -> bool:
    return message["method"] == "understudy/status" and message["params"]["night"] == night


@pytest.mark.e2e
async def test_a_night_of_another_process_is_shown_until_it_ends(workspace: Path) -> None:
    pause = Event(Stage.TUNE, "it stands still: you type", paused=True)
    folder(places().data)
    night = noted("r", iter([Event(Stage.TUNE, "", 48, 120), pause]))
    next(night)
    async with Editor(workspace, options=WITHOUT_RUNTIME) as editor:
        training = {"share": 0.4, "sentence": "A night goes on: training, 48 of 120."}
        await editor.heard(lambda m: is_night(m, training))
        next(night)
        waiting = {"share": 0.4, "sentence": "A night goes on: training, 48 of 120; it stands still: you type."}
        await editor.heard(lambda m: is_night(m, waiting))
        heard = len(editor.notifications)
        night.close()
        await editor.heard(lambda m: is_night(m, None), heard)


@pytest.mark.e2e
async def test_how_a_training_ended_is_told(workspace: Path) -> None:
    tiny_model.choose()
    async with Editor(workspace, options=WITHOUT_RUNTIME) as editor:
        assert (await editor.execute("understudy.train"))["ok"]
        told = (await editor.heard(lambda m: m["method"] == SHOW_MESSAGE, seconds=TRAINING_SECONDS))["params"]
        outcome = "nothing to learn from yet: understudy learn on PATH --since 90d"
        assert told == {"type": INFO, "message": f"the training has ended: {outcome}"}


@pytest.mark.e2e
async def test_why_a_training_failed_is_told(daemon: EchoDaemon, workspace: Path) -> None:
    """The echo engine is no model that could be trained."""
    async with Editor(workspace) as editor:
        await editor.ready()
        assert (await editor.execute("understudy.train"))["ok"]
        told = (await editor.heard(lambda m: m["method"] == SHOW_MESSAGE, seconds=TRAINING_SECONDS))["params"]
        assert told["type"] == WARNING
        assert told["message"].startswith("the training failed: no model echo: ")
        assert told["message"].endswith(". To mend it: understudy model import PATH")


def test_a_command_that_ran_no_night_has_no_outcome_to_tell() -> None:
    forgotten = "12 edits are deleted\nDeleted means: files are removed, done  and over"
    assert night_outcome(forgotten) is None
    assert (
        night_outcome(f"{forgotten}\n collect  40 edits\n    done  v2 serves, at strength 1\n")
        == "v2 serves, at strength 1"
    )


@pytest.mark.parametrize(
    ("errors", "status", "told"),
    [
        ("understudy: no disk\n  to mend it: rm -r x\n", 1, "no disk. To mend it: rm -r x"),
        ("a warning of understudy: none\nunderstudy: first.\nunderstudy: no disk\n", 1, "no disk"),
        ("Traceback (most recent call last):\n  ZeroDivisionError\n", 1, "it ended with status 1"),
        ("", -9, "it was ended by signal 9"),
    ],
)
def test_why_a_command_failed(errors: str, status: int, told: str) -> None:
    assert fault_told(errors, status) == told
