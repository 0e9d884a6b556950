"""Ghost text in real Neovims, against the real language server and daemon, with scripted answers."""

from __future__ import annotations

import re
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
    PLUGIN,
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


def test_an_entry_of_the_menu_hides_it(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    path = nvim.open("a.py", "computer = 1\ncompound = 2\n")
    nvim.ready()
    nvim.type("Goy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type("comp\x0e")
    nvim.until("vim.fn.complete_info({'selected'}).selected == 0", "an entry of the menu is selected")
    nvim.terminal.until(lambda: nvim.terminal.row(2) == "y = computer", "the entry is on the screen, and no ghost")
    nvim.type("\x05")
    nvim.suggests("y = compute(a, b)")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(3) == 'y = compute(a, b)'", "accepted")
    assert nvim.save(path) == b"computer = 1\ncompound = 2\ny = compute(a, b)\n"


@pytest.mark.parametrize("plugin", ["cmp", "blink.cmp"])
def test_menus_of_plugins_hide_it(newest: Path, start: Start, daemon: EchoDaemon, plugin: str) -> None:
    """The two functions of each plug-in that we call, since the plug-ins themselves are on no package index."""
    nvim = start(newest)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    menu = """
    local name = ...
    local function is_open() return vim.g.open end
    local function entry() return vim.g.selected and {} or nil end
    package.loaded['cmp'] = name == 'cmp' and { visible = is_open, get_active_entry = entry } or nil
    package.loaded['blink.cmp'] = name == 'blink.cmp' and { is_menu_visible = is_open, get_selected_item = entry } or nil"""
    nvim.lua(menu, plugin)
    nvim.lua("vim.g.open, vim.g.selected = true, false")
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.lua("vim.g.selected = true")
    nvim.type("c")
    nvim.until("vim.fn.getline(2) == 'y = c'", "typed")
    nvim.terminal.until(lambda: nvim.terminal.row(1) == "y = c", "the ghost is away")
    assert nvim.lua("return require('understudy').accept()") is False
    nvim.lua("vim.g.selected, vim.g.open = false, false")
    nvim.type("o")
    nvim.suggests("y = compute(a, b)")


MAPPED = """
local name, keymap = ...
local function typed_tab() return vim.api.nvim_feedkeys(vim.keycode('<C-v><Tab>'), 'in', false) end
local menu = { get_active_entry = function() return vim.g.selected and {} or nil end, visible = function() return vim.g.selected end }
menu.confirm = function() vim.g.confirmed = true end
package.loaded['cmp'] = name == 'nvim-cmp' and menu or nil
local given = assert(loadstring('local cmp = ...; return {' .. keymap .. '}'))(menu)
if name == 'nvim-cmp' then
  vim.keymap.set('i', '<Tab>', function() given['<Tab>'](typed_tab) end, { buffer = true })
else
  vim.keymap.set('i', '<Tab>', function()
    local ours, _, last = unpack(given.keymap['<Tab>'])
    if not ours(menu) then
      assert(last == 'fallback')
      return '<C-v><Tab>'
    end
  end, { buffer = true, expr = true })
end"""
"""What the help tells to map, mapped as nvim-cmp and blink.cmp map it: per buffer, the one a function, the other an expression."""


@pytest.mark.parametrize("plugin", ["nvim-cmp", "blink.cmp"])
def test_tab_falls_through_the_mappings_of_the_help(
    program: Path, start: Start, daemon: EchoDaemon, plugin: str
) -> None:
    page = (PLUGIN / "doc" / "understudy.txt").read_text()
    keymap = re.search(rf"^{re.escape(plugin)}: >lua\n(.*?)^<$", page, re.S | re.M)
    assert keymap is not None
    nvim = start(program, "automatic = false")
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.lua(MAPPED, plugin, keymap[1])
    nvim.type("oy =" + TAB)
    nvim.until("vim.fn.getline(2) == 'y =\\t'", "the tab is a tab where nothing is shown")
    nvim.type(TRIGGER)
    nvim.suggests("compute(a, b)")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'y =\\tcompute(a, b)'", "accepted")
    if plugin == "nvim-cmp":
        nvim.lua("vim.g.selected = true")
        nvim.type(TAB)
        nvim.until("vim.g.confirmed", "an entry of the menu comes first")
    assert nvim.save(path) == b"x = 1\ny =\tcompute(a, b)\n"
