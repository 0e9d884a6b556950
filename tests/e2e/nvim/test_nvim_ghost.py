"""Ghost text in real Neovims, against the real language server and daemon, with scripted answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from echo_daemon import EchoDaemon
from neovim import (
    ALT_DOWN,
    ALT_RIGHT,
    BACKSPACE,
    CTRL_BRACKET,
    ENTER,
    ESCAPE,
    NEXT,
    PREVIOUS,
    TAB,
    TRIGGER,
    Neovim,
)

pytestmark = pytest.mark.e2e
Start = Callable[..., Neovim]
ANSWER = "compute(a, b)"


def test_seen_typed_through_and_accepted(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    assert nvim.line(2) == "y = "
    nvim.type("com")
    nvim.until("vim.fn.getline(2) == 'y = com'", "typed")
    nvim.suggests("y = compute(a, b)")
    assert nvim.ghost() == "pute(a, b)"
    nvim.type(BACKSPACE)
    nvim.until("vim.fn.getline(2) == 'y = co'", "deleted")
    nvim.suggests("y = compute(a, b)")
    nvim.type("x")
    nvim.until("vim.fn.getline(2) == 'y = cox'", "typed another way")
    nvim.type(BACKSPACE)
    nvim.suggests("y = compute(a, b)")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'y = compute(a, b)'", "accepted")
    assert nvim.save(path) == b"x = 1\ny = compute(a, b)\n"
    nvim.type(":Understudy stats" + ENTER)
    nvim.shows("python                     1      100%       0   100%")
    nvim.quit()


def test_taken_by_words_and_lines(program: Path, start: Start, daemon: EchoDaemon) -> None:
    daemon.says("for i in range(n):\n", "        print(i)\n", "    return n\n")
    nvim = start(program)
    path = nvim.open("a.py", "def f(n):\n\n\nx = 1\n")
    nvim.ready()
    nvim.type("jS")
    nvim.suggests("    for i in range(n):\n        print(i)\n    return n")
    assert nvim.line(2) == "    "
    for word, line in (
        ("for", "    for"),
        (" i", "    for i"),
        (" in", "    for i in"),
        (" range", "    for i in range"),
    ):
        nvim.type(ALT_RIGHT)
        nvim.until(f"vim.fn.getline(2) == '{line}'", f"the word {word!r} is taken")
        nvim.suggests("    for i in range(n):\n        print(i)\n    return n")
    nvim.type(ALT_DOWN)
    nvim.until("vim.fn.getline(2) == '    for i in range(n):'", "the rest of the line is taken")
    nvim.type(ALT_DOWN)
    nvim.until("vim.fn.getline(3) == '        print(i)'", "the next line is taken")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(4) == '    return n'", "the rest is taken")
    assert nvim.save(path) == b"def f(n):\n    for i in range(n):\n        print(i)\n    return n\n\nx = 1\n"


def test_dismissed_until_the_text_changes(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type(CTRL_BRACKET)
    nvim.terminal.until(lambda: nvim.terminal.row(1) == "y =", "the ghost is gone")
    nvim.type("c")
    nvim.suggests("y = compute(a, b)")
    nvim.type(ESCAPE)
    nvim.terminal.until(lambda: nvim.terminal.row(1) == "y = c", "the ghost leaves with insert mode")


def test_several_by_hand(program: Path, start: Start, daemon: EchoDaemon) -> None:
    daemon.write({"scripts": [{"pieces": [text]} for text in ("one()", "two()", "three()")]})
    nvim = start(program, "automatic = false, settings = { prefetch = false }")
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = " + TRIGGER)
    nvim.suggests("y = one() 1/3")
    nvim.type(NEXT)
    nvim.suggests("y = two() 2/3")
    nvim.type(NEXT + NEXT)
    nvim.suggests("y = one() 1/3")
    nvim.type(PREVIOUS)
    nvim.suggests("y = three() 3/3")
    nvim.type("thr")
    nvim.until("vim.fn.getline(2) == 'y = thr'", "typed")
    nvim.suggests("y = three() 3/3")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'y = three()'", "accepted")
    assert nvim.save(path) == b"x = 1\ny = three()\n"


@pytest.mark.parametrize("n_typed", [0, 1, 7, len(ANSWER) - 1])
def test_right_when_keys_come_faster_than_events(newest: Path, start: Start, daemon: EchoDaemon, n_typed: int) -> None:
    """Characters along the suggestion, the accepting key and more characters, all in one burst."""
    nvim = start(newest)
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type(ANSWER[:n_typed] + TAB + "  # now")
    nvim.until("vim.fn.getline(2) == 'y = compute(a, b)  # now'", "all of it is there, in order")
    nvim.type(ESCAPE + "A!")
    nvim.until("vim.fn.getline(2) == 'y = compute(a, b)  # now!'", "and goes on")
    assert nvim.save(path) == b"x = 1\ny = compute(a, b)  # now!\n"


def test_another_way_in_a_burst_takes_nothing(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest, init="vim.o.expandtab = true; vim.o.softtabstop = 4")
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type("cox" + TAB + "z")
    nvim.until("vim.fn.getline(2) == 'y = cox z'", "the tab is a tab")


def test_keys_do_what_they_did_where_nothing_is_shown(program: Path, start: Start, daemon: EchoDaemon) -> None:
    mapped = "vim.keymap.set('i', '<Tab>', function() return 'mine' end, { expr = true })\n"
    nvim = start(program, "automatic = false", init=mapped + "vim.keymap.set('i', '<M-Down>', 'down')")
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type(f"ox{CTRL_BRACKET}{TAB}{ALT_DOWN}")
    nvim.until("vim.fn.getline(2) == 'xminedown'", "the keys' own mappings")


def test_each_acceptance_is_one_step_of_undo(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type(TAB + " + 1" + ESCAPE)
    for line in ("y = compute(a, b) + 1", "y = compute(a, b)", "y = ", ""):
        nvim.until(f"(vim.fn.getline(2)) == '{line}'", f"{line!r}")
        nvim.type("u")
    nvim.until("vim.fn.line('$') == 1", "all undone")
    nvim.type("4\x12:echo 'redone'" + ENTER)
    nvim.until("vim.fn.getline(2) == 'y = compute(a, b) + 1'", "all redone")


def test_repeating_types_what_was_typed(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type(TAB + " + 1" + ESCAPE + ".")
    nvim.until("vim.fn.getline(3) == 'y =  + 1'", "repeated")
