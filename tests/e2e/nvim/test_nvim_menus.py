"""Ghost text beside completion menus: Neovim's own; and stand-ins for nvim-cmp's and blink.cmp's, mapped as the help tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from echo_daemon import EchoDaemon
from neovim import ESCAPE, PLUGIN, TAB, TRIGGER, Neovim

pytestmark = pytest.mark.e2e
Start = Callable[..., Neovim]
STAND_INS = Path(__file__).with_name("menu_plugins.lua")
PLUGINS = ["nvim-cmp", "blink.cmp 1", "blink.cmp 2"]
BEGIN = """
local path, plugin, handlers = ...
_G.menu = dofile(path)
menu[plugin](assert(loadstring('local cmp = ...; return {' .. handlers .. '}')))"""


def begin(nvim: Neovim, plugin: str) -> None:
    """Set a plug-in up with the mapping that the help has for it."""
    page = (PLUGIN / "doc" / "understudy.txt").read_text()
    mapping = re.search(rf"^{re.escape(plugin.split(maxsplit=1)[0])}: >lua\n(.*?)^<$", page, re.S | re.M)
    assert mapping is not None
    nvim.lua(BEGIN, str(STAND_INS), plugin, mapping[1])


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


@pytest.mark.parametrize("plugin", PLUGINS)
def test_an_entry_of_a_plugins_menu_hides_it(newest: Path, start: Start, daemon: EchoDaemon, plugin: str) -> None:
    nvim = start(newest)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    begin(nvim, plugin)
    nvim.lua("menu.show(true, false)")
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.lua("menu.show(true, true)")
    if plugin == "nvim-cmp":  # it tells nobody; the user's next key does
        nvim.type("c")
        nvim.until("vim.fn.getline(2) == 'y = c'", "typed")
    nvim.terminal.until(lambda: nvim.terminal.row(1) in ("y =", "y = c"), "the ghost is away")
    assert nvim.lua("return require('understudy').accept()") is False
    nvim.type(TAB)
    nvim.until("menu.done[1] == 'confirmed'", "Tab takes the entry")
    nvim.lua("menu.show(false, false)")
    if plugin == "nvim-cmp":
        nvim.type("o")
    nvim.suggests("y = compute(a, b)")


def test_typing_never_waits_for_the_sources_of_nvim_cmp(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    begin(nvim, "nvim-cmp")
    nvim.lua("menu.show(true, false)")
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    nvim.type("com")
    nvim.suggests("y = compute(a, b)")
    assert nvim.lua("return package.loaded.cmp.n_waits") == 0


@pytest.mark.parametrize("plugin", PLUGINS)
def test_tab_falls_through_the_mapping_of_the_help(
    program: Path, start: Start, daemon: EchoDaemon, plugin: str
) -> None:
    nvim = start(program, "automatic = false", init="vim.g.python_recommended_style = 0")
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    begin(nvim, plugin)
    nvim.type(f"oab{TAB}cd")
    nvim.until("vim.fn.getline(2) == 'ab\\tcd'", "a tab is a tab, in its place, where nothing is shown")
    nvim.leave()
    nvim.type(f"oy ={TAB}{ESCAPE}")
    nvim.until("vim.fn.getline(3) == 'y =\\t'", "and is not lost before the key after it")
    nvim.leave()
    nvim.type("A" + TRIGGER)
    nvim.suggests("compute(a, b)")
    nvim.type(TAB + "  # now")
    nvim.until("vim.fn.getline(3) == 'y =\\tcompute(a, b)  # now'", "accepted")
    assert nvim.save(path) == b"x = 1\nab\tcd\ny =\tcompute(a, b)  # now\n"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_setting_up_twice_leads_tab_round_no_circle(
    newest: Path, start: Start, daemon: EchoDaemon, plugin: str
) -> None:
    mapped = "vim.keymap.set('i', '<Tab>', function() return 'mine' end, { expr = true })"
    nvim = start(newest, "automatic = false", init=mapped)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    begin(nvim, plugin)
    nvim.type("i")
    nvim.until("menu.has_mapped", "the other plug-in has mapped its keys")
    nvim.leave()
    nvim.lua("require('understudy').setup(require('understudy.config').options)")
    nvim.type(f"oa{TAB}b")
    nvim.until("vim.fn.getline(2) == 'amineb'", "what the key did before all")


def test_a_mapping_behind_a_buffers_own_is_kept(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    init = "vim.keymap.set('i', '<Tab>', 'mine')\nvim.keymap.set('i', '<Tab>', 'here', { buffer = true })"
    nvim = start(newest, "automatic = false", init=init)
    nvim.type("a" + TAB)
    nvim.until("vim.fn.getline(1) == 'here'", "the buffer's own")
    nvim.leave()
    nvim.lua("vim.cmd.enew { bang = true }")
    nvim.type("a" + TAB)
    nvim.until("vim.fn.getline(1) == 'mine'", "the one behind it")
