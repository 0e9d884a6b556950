"""Learning beside Neovim: a night is seen, whoever began it, and how the user's own ended is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from echo_daemon import EchoDaemon
from neovim import ENTER, Neovim

from local_runtime.places import folder, places
from trainer.nightly.events import Event
from trainer.nightly.progress_note import noted
from trainer.nightly.runs import Stage

pytestmark = pytest.mark.e2e
Start = Callable[..., Neovim]


def test_a_night_that_goes_on_is_seen(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    folder(places().data)
    night = noted("r", iter([Event(Stage.TUNE, "", 48, 120)]))
    next(night)
    nvim.until("vim.endswith(require('understudy').statusline(), ', learning 40%')", "the night is in the statusline")
    nvim.type(":Understudy status" + ENTER)
    nvim.shows("A night goes on: training, 48 of 120.")
    nvim.type(ENTER)
    night.close()
    nvim.until("not require('understudy').statusline():find('learning', 1, true)", "it has ended")


def test_how_a_training_ended_is_told(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    """The echo engine is no model that could be trained."""
    nvim = start(newest)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type(":Understudy train" + ENTER)
    nvim.shows("training has begun; the status shows how far it is")
    nvim.shows("the training failed: no model echo: ")
