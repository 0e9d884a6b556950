"""Neovim with the model that `understudy setup` brings: a right suggestion on the screen, and in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import real_model
from echo_daemon import PATIENT
from neovim import TAB, TRIGGER, Neovim

from local_runtime.client.client import Client
from local_runtime.places import folder, places

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
BY_HAND = "automatic = false"


def test_a_right_suggestion(newest: Path, start: Callable[..., Neovim]) -> None:
    folder(places().config)
    places().config_file.write_text(PATIENT)
    real_model.choose()
    with Client("test") as client:
        client.wait_ready()
    nvim = start(newest, BY_HAND, lines=30)
    path = nvim.open("notes.py", real_model.NOTES)
    nvim.ready()
    nvim.type("GA" + TRIGGER)
    nvim.terminal.until(lambda: nvim.ghost().startswith(real_model.RIGHT), "the right suggestion")
    nvim.shows(f"                {real_model.RIGHT}")
    nvim.type(TAB)
    nvim.until("vim.bo.modified", "accepted")
    assert nvim.save(path).decode().startswith(real_model.NOTES + real_model.RIGHT)
