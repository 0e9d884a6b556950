"""The model that `understudy setup` brings, in the terminal and through the language server: what it says is right."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import real_model
from echo_daemon import PATIENT, end_daemons

from local_runtime.client.client import Client
from local_runtime.places import folder, places
from lsp_server.demo.typing import Window, type_file

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
UNDERSTUDY = (sys.executable, "-P", "-c", "from local_runtime.cli.command import main; main()")


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all tests here, in place of one per test: the model is imported, compiled and loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("UNDERSTUDY_HOME", str(home))
        folder(places().config)
        places().config_file.write_text(PATIENT)
        real_model.choose()
        yield home
        end_daemons(home)


def test_in_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "notes.py"
    file.write_text(real_model.NOTES)
    last = real_model.NOTES.splitlines()[-1]
    place = f"{file}:{len(real_model.NOTES.splitlines())}:{len(last) + 1}"
    done = subprocess.run([*UNDERSTUDY, "complete", place, "--json"], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["model"] == f"{real_model.NAME}-q8f16_g32"
    assert said["text"].split("\n")[0] == real_model.RIGHT


def test_through_the_language_server(tmp_path: Path) -> None:
    with Client("test") as client:
        client.wait_ready()
    lines = real_model.NOTES.splitlines(keepends=True)
    opening, typed = "".join(lines[:-1]), lines[-1] + real_model.RIGHT + "\n"

    async def score() -> int:
        window = Window(tmp_path / "notes.py", tmp_path)
        await window.open(opening)
        try:
            typing = await type_file(window, opening, typed, 0.0, lambda _line, _seen: None)
        finally:
            await window.close()
        return typing.n_right

    assert asyncio.run(score()) > 0
