"""Ghost text in real Neovims, against the real language server and daemon, with scripted answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from echo_daemon import EchoDaemon
from neovim import TAB, Neovim

pytestmark = pytest.mark.e2e
Start = Callable[..., Neovim]


def test_seen_typed_through_and_accepted(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.shows("y = compute(a, b)")
    assert nvim.line(2) == "y = "
    nvim.type("com")
    nvim.until("vim.fn.getline(2) == 'y = com'", "typed")
    nvim.shows("y = compute(a, b)")
    assert nvim.ghost() == "pute(a, b)"
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'y = compute(a, b)'", "accepted")
    assert nvim.save(path) == b"x = 1\ny = compute(a, b)\n"
