"""Neovim without a model: it says so, suggests nothing, and `:Understudy setup` brings one, compiled here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import tiny_model
from echo_daemon import PATIENT, daemons, wait_ended
from neovim import ENTER, TRIGGER, Neovim

from local_runtime.errors import ModelMissing
from local_runtime.model.chosen import chosen_model
from local_runtime.places import folder, places

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Start = Callable[..., Neovim]
NAME = "tiny_model-q8f16_g32"
CODE = "import json\nfrom pathlib import Path\n\n\nclass Note:\n    def __init__(self, title, body):\n        self.title = title\n        self."  # fmt: skip
PLAN = """{ title = 'Coder 0.5B', quantization = 'q8f16_g32', licence = %s, non_commercial = %s, download_bytes = %d, disk_bytes = %d }"""


@pytest.fixture(autouse=True)
def _patient(home: Path) -> None:
    folder(places().config)
    places().config_file.write_text(PATIENT)


def without_model(start: Start, program: Path) -> Neovim:
    nvim = start(program, "automatic = false", lines=30)
    nvim.open("notes.py", CODE)
    nvim.until("require('understudy').statusline() == 'understudy: no model yet'", "no model yet")
    return nvim


def choose(nvim: Neovim, model: str = str(tiny_model.FOLDER)) -> None:
    """Have a model proposed, and agree."""
    nvim.lua("vim.api.nvim_input(...)", f":Understudy setup {model}{ENTER}")
    nvim.shows("Set up tiny_model, q8f16_g32 (licence: not said; nothing to download")
    nvim.type("1" + ENTER)


def test_no_model_yet_until_one_is_set_up(program: Path, start: Start, home: Path) -> None:
    nvim = without_model(start, program)
    nvim.shows("no model yet; `:Understudy setup` brings one")
    nvim.type("GA" + TRIGGER)
    # Leaving at once would cancel the request before it has its answer.
    skip = "require('understudy.status').of(require('understudy.server').client(0)).skip"
    nvim.until(f"{skip} == 'no_model'", "the request was answered")
    nvim.leave()
    nvim.type(":Understudy why" + ENTER)
    nvim.shows("There is no model yet; `understudy setup` brings one.")
    assert daemons(home) == [], "a daemon was started that has nothing to serve"
    nvim.type("q:Understudy setup nowhere/at/all" + ENTER)
    nvim.shows("nowhere/at/all")
    nvim.shows("to mend it: understudy ")
    nvim.type(ENTER)
    client = nvim.lua("return require('understudy.server').client(0).id")
    choose(nvim)
    nvim.shows(f"{NAME} answers now")
    nvim.ready()
    assert nvim.lua("return require('understudy').statusline()").startswith(f"understudy: {NAME}")
    nvim.type("A" + TRIGGER)
    nvim.terminal.until(lambda: nvim.ghost().strip(), "a suggestion")
    assert nvim.lua("return require('understudy.server').client(0).id") == client, "the server was started anew"


def test_what_mends_it_is_told_by_status_and_checkhealth(newest: Path, start: Start) -> None:
    nvim = without_model(start, newest)
    nvim.type(":Understudy status" + ENTER)
    nvim.shows("understudy: no model yet\nno model yet\n`:Understudy setup` brings one")
    nvim.type(ENTER + ":checkhealth understudy" + ENTER)
    nvim.until("vim.fn.search('`:Understudy setup` brings one') > 0", "the way to a model")


def test_a_set_up_is_stopped_from_where_it_was_begun(newest: Path, start: Start) -> None:
    nvim = without_model(start, newest)
    choose(nvim)
    with standing_still(nvim) as processes:
        nvim.type(":Understudy setup" + ENTER)
        nvim.shows("A model is being set up (")
        nvim.type("s")
        nvim.until("vim.api.nvim_get_mode().mode == 'n'", "answered")
    nvim.shows("understudy: stopped; `:Understudy setup` goes on from there")
    wait_ended(processes)
    with pytest.raises(ModelMissing, match="no model yet"):
        chosen_model()
    choose(nvim)
    with standing_still(nvim) as processes:
        nvim.quit()
    wait_ended(processes)
    with pytest.raises(ModelMissing, match="no model yet"):
        chosen_model()


@contextmanager
def standing_still(nvim: Neovim) -> Iterator[list[psutil.Process]]:
    """The processes of a set-up that has begun, stopped before it can end."""
    found: list[psutil.Process] = []

    def begun() -> bool:
        for child in psutil.Process(nvim.terminal.pid).children(recursive=True):
            try:
                if "--yes" in child.cmdline() and "setup" in child.cmdline():
                    found[:] = [child]
            except psutil.NoSuchProcess:
                continue
        return bool(found)

    nvim.terminal.until(begun, "the set-up runs")
    (one,) = found
    one.suspend()
    found += one.children(recursive=True)
    try:
        yield found
    finally:
        one.resume()


@pytest.mark.parametrize(
    ("plan", "question"),
    [
        (("'MIT'", "false", 491_400_064, 1_016_376_960), "(licence: MIT; 491 MB to download, 1.0 GB of disk)?"),
        (("'Own'", "true", 0, 0), "(licence: Own, NOT FOR COMMERCIAL USE; nothing to download)?"),
        (("'Own, non-commercial'", "true", 999, 5e15), "(licence: Own, non-commercial; 999 bytes to download, 5000 TB of disk)?"),
    ],
)  # fmt: skip
def test_what_is_agreed_to(newest: Path, start: Start, plan: tuple[object, ...], question: str) -> None:
    said = start(newest).lua(f"return require('understudy.model_setup').question({PLAN % plan})")
    assert said == f"Set up Coder 0.5B, q8f16_g32 {question}"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("{ stage = 'fetch', done = 12345678, total = 491400064, text = '' }", "downloading: 12 MB of 491 MB"),
        ("{ stage = 'compile', done = 0, total = 0, text = 'linking' }", "compiling: linking"),
        ("{ stage = 'new', done = 0, total = 0, text = '' }", "new"),
    ],
)
def test_how_far_it_is(newest: Path, start: Start, event: str, words: str) -> None:
    assert start(newest).lua(f"return require('understudy.model_setup').progress_words({event})") == words
