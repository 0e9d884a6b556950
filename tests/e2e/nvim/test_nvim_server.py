"""The plug-in and the processes behind it: silence where it belongs, switches, deadlines, crashes, two editors, files of every kind."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SUITES, set_up
from echo_daemon import EchoDaemon
from neovim import ENTER, ESCAPE, PLUGIN, TAB, Neovim

from local_runtime.client import lock
from local_runtime.client.sockets import lock_path

pytestmark = pytest.mark.e2e
Start = Callable[..., Neovim]
SKIP = "require('understudy.status').of(require('understudy.server').client(0)).skip"
ANSWERED = """
local why = { command = 'understudy.why', arguments = { 1000 } }
return #vim.lsp.buf_request_sync(0, 'workspace/executeCommand', why, 10000)[require('understudy.server').client(0).id].result.answers"""
"""How many requests the language server has answered."""


def daemon_pid() -> int:
    holder = lock.holder(lock_path())
    assert holder is not None
    return holder.pid


def test_silent_in_secret_files_and_says_why(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest)
    path = nvim.open(".env", "A=1\n")
    nvim.ready()
    nvim.type("oB=")
    nvim.until(f"{SKIP} == 'secret_file'", "the reason is known")
    n_asked = nvim.lua(ANSWERED)
    nvim.type("2")
    nvim.until("vim.fn.getline(2) == 'B=2'", "typed")
    nvim.terminal.until(lambda: nvim.lua(ANSWERED) > n_asked, "it was asked about, and answered")
    assert nvim.ghost() == ""
    assert nvim.save(path) == b"A=1\nB=2\n"
    nvim.type(":Understudy why" + ENTER)
    nvim.shows("The file may hold secrets; such files are never read.")
    nvim.type("q:Understudy status" + ENTER)
    nvim.shows("understudy: echo")


def test_toggled_for_everybody(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    nvim.open("run.sh", "echo 1\n")
    nvim.ready()
    nvim.type(":Understudy toggle" + ENTER)
    nvim.shows("suggestions are off everywhere")
    nvim.type("ox=")
    nvim.until(f"{SKIP} == 'disabled'", "silent")
    assert nvim.ghost() == ""
    nvim.leave()
    nvim.type(":Understudy toggle" + ENTER)
    nvim.shows("suggestions are on everywhere")
    nvim.type(":Understudy toggle lang" + TAB + ENTER)
    nvim.shows("suggestions are off for shellscript")
    nvim.type("A1")
    nvim.until(f"{SKIP} == 'disabled_language'", "silent in this language")
    nvim.leave()
    nvim.type(":Understudy toggle language" + ENTER)
    nvim.shows("suggestions are on for shellscript")
    nvim.type("oy=")
    nvim.suggests("y=compute(a, b)")


def test_a_killed_daemon_comes_back(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest)
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    killed = daemon_pid()
    os.kill(killed, signal.SIGKILL)
    nvim.type(TAB + ENTER + "z = ")
    nvim.until("vim.fn.getline(3) == 'z = '", "typed")
    nvim.gets("z = compute(a, b)")
    assert daemon_pid() != killed
    nvim.type(TAB)
    nvim.until("vim.fn.getline(3) == 'z = compute(a, b)'", "accepted")
    assert nvim.save(path) == b"x = 1\ny = compute(a, b)\nz = compute(a, b)\n"


def test_a_killed_language_server_comes_back(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = compute(a, b)")
    first = nvim.lua("return require('understudy.server').client(0).id")
    pid = nvim.lua("return vim.iter(vim.api.nvim_get_proc_children(vim.fn.getpid())):totable()[1]")
    os.kill(pid, signal.SIGKILL)
    nvim.shows("Press ENTER")
    nvim.type(ENTER)
    nvim.until(
        f"(function(c) return c and c.id ~= {first} end)(require('understudy.server').client(0))", "another one runs"
    )
    nvim.ready()
    nvim.type(ENTER + "z = ")
    nvim.gets("z = compute(a, b)")


def test_a_language_server_that_keeps_dying_is_left_alone(program: Path, start: Start, tmp_path: Path) -> None:
    dying, lives = tmp_path / "understudy", tmp_path / "lives"
    dying.write_text(f"#!/bin/sh\necho >>{lives}\nexit 3\n")
    dying.chmod(0o755)
    quick = "require('understudy.back_off').FIRST_WAIT_MS = 1\n"
    told = "_G.told = {}; vim.notify = function(message) table.insert(_G.told, message) end"
    nvim = start(program, init=quick + told, setup=f"require('understudy').setup{{ command = '{dying}' }}")
    nvim.lua("vim.cmd.edit('a.py')")
    given_up = "vim.iter(_G.told):any(function(m) return m:find('Understudy restart server', 1, true) end)"
    nvim.until(given_up, "it is left alone, and how to start it again is told")
    n_lives = len(lives.read_text())
    assert n_lives == nvim.lua("return require('understudy.back_off').MOST_DEATHS")
    nvim.lua("vim.cmd.edit('b.py'); vim.cmd.write()")
    nvim.lua("_G.told = {}; vim.cmd('Understudy restart server')")
    nvim.until(given_up, "it is left alone again")
    assert len(lives.read_text()) == 2 * n_lives


def test_each_quick_death_doubles_the_wait_and_a_long_life_forgets_them(newest: Path, start: Start) -> None:
    waits = """
    local back_off, waits = require('understudy.back_off'), {}
    for _, lived_ms in ipairs({ 0, 0, 59999, 60000, 0, 0, 0, 0, 0 }) do
      waits[#waits + 1] = back_off.died('/w', lived_ms) or 'never'
    end
    waits[#waits + 1] = back_off.died('/v', 0)
    back_off.reset()
    waits[#waits + 1] = back_off.died('/w', 0)
    return waits"""
    expected = [500, 1000, 2000, 500, 1000, 2000, 4000, 8000, "never", 500, 500]
    assert start(newest).lua(waits) == expected


def test_at_the_deadline_there_is_what_there_is(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    daemon.says("first + ", "second", delay_ms=60_000)
    nvim = start(newest, "settings = { deadline_ms = 2000 }")
    path = nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type("oy = ")
    nvim.suggests("y = first +")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'y = first +'", "accepted")
    assert nvim.save(path) == b"x = 1\ny = first +\n"


def test_what_is_superseded_is_taken_back(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    daemon.says("slow", first_delay_ms=60_000)
    nvim = start(newest, "settings = { deadlineMs = 10000, debounce_ceiling_ms = 0 }")
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.lua("""
    _G.seen = {}
    vim.api.nvim_create_autocmd('LspRequest', { callback = function(event)
      if event.data.request.method == 'textDocument/inlineCompletion' then table.insert(_G.seen, event.data.request.type) end
    end })""")
    nvim.type("oy")
    nvim.until("vim.fn.getline(2) == 'y' and vim.list_contains(_G.seen, 'pending')", "asked")
    nvim.type(" = ")
    nvim.until("vim.fn.getline(2) == 'y = ' and vim.list_contains(_G.seen, 'cancel')", "taken back")
    nvim.type(ESCAPE)
    left = "vim.api.nvim_get_mode().mode == 'n' and _G.seen[#_G.seen] ~= 'pending'"
    nvim.until(left, "nothing is asked outside insert mode")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_files_of_every_kind(program: Path, start: Start, daemon: EchoDaemon, encoding: str) -> None:
    nvim = start(program, f"capabilities = {{ general = {{ positionEncodings = {{ '{encoding}' }} }} }}")
    dos = nvim.open("dos.py", b"x = 1\r\ny = 2\r\n")
    nvim.ready()
    assert nvim.lua("return require('understudy.server').client(0).offset_encoding") == encoding
    nvim.type("oz = ")
    nvim.suggests("z = compute(a, b)")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'z = compute(a, b)'", "accepted")
    assert nvim.save(dos) == b"x = 1\r\nz = compute(a, b)\r\ny = 2\r\n"

    emoji = nvim.open("emoji.py", 'print("😀é", )\n')
    nvim.type("$i")
    nvim.suggests('print("😀é", compute(a, b)')
    nvim.type("com")
    nvim.until("vim.fn.getline(1) == 'print(\"😀é\", com)'", "typed through")
    nvim.suggests('print("😀é", compute(a, b)')
    nvim.type(TAB)
    nvim.until("vim.fn.getline(1) == 'print(\"😀é\", compute(a, b))'", "accepted")
    assert nvim.save(emoji) == 'print("😀é", compute(a, b))\n'.encode()

    nvim.lua("vim.o.expandtab, vim.o.tabstop, vim.o.shiftwidth = false, 8, 8")
    tabs = nvim.open("tabs.go", "func f() {\n\tx := 1\n}\n")
    nvim.type("jo")
    nvim.until("vim.fn.getline(3) == '\\t'", "indented")
    nvim.type("y := ")
    nvim.suggests("y := compute(a, b)")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(3) == '\\ty := compute(a, b)'", "accepted")
    assert nvim.save(tabs) == b"func f() {\n\tx := 1\n\ty := compute(a, b)\n}\n"


def test_tabs_in_a_suggestion_are_drawn_where_they_stand(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    daemon.says("for i := range n {\n", "\t\tsum += i\n", "\t}\n", "\treturn sum\n")
    nvim = start(newest, init="vim.o.tabstop = 4")
    path = nvim.open("a.go", "func f(n int) int {\n\t\n}\n")
    nvim.ready()
    nvim.type("jA")
    nvim.shows("\n    for i := range n {\n        sum += i\n    }\n    return sum\n}")
    nvim.type(TAB)
    nvim.until("vim.fn.line('$') == 6", "accepted")
    assert nvim.save(path) == b"func f(n int) int {\n\tfor i := range n {\n\t\tsum += i\n\t}\n\treturn sum\n}\n"


def test_two_editors_share_one_daemon(start: Start, daemon: EchoDaemon) -> None:
    editors = [start(set_up(suite)) for suite in SUITES.values()]
    pids = set()
    for number, nvim in enumerate(editors):
        nvim.open(f"{number}.py", "x = 1\n")
        nvim.ready()
        pids.add(daemon_pid())
        nvim.type("oy = ")
        nvim.suggests("y = compute(a, b)")
    assert len(pids) == 1


def test_one_language_server_per_project(newest: Path, start: Start, daemon: EchoDaemon, workspace: Path) -> None:
    nvim = start(newest)
    (workspace / "inner" / ".git").mkdir(parents=True)
    for name in ("a.py", "package.json", "deeper/b.py", "inner/c.py"):
        nvim.open(name, "")
    roots = nvim.lua(
        "return vim.tbl_map(function(c) return c.config.root_dir end, require('understudy.server').clients())"
    )
    assert sorted(roots) == [str(workspace), str(workspace / "inner")]


def test_without_the_command_it_says_how_to_get_it(newest: Path, start: Start) -> None:
    nvim = start(newest, setup="require('understudy').setup{ command = '/nowhere/understudy' }")
    nvim.type(":edit a.py" + ENTER)
    nvim.shows("pipx install .")
    nvim.type(ENTER + "ox\ty" + ESCAPE)
    nvim.until("vim.fn.getline(2) == 'x   y'", "keys work without it")


def test_health_without_the_command_says_what_mends_it(program: Path, start: Start) -> None:
    nvim = start(program, setup="require('understudy').setup{ command = '/nowhere/understudy' }")
    nvim.type(":checkhealth understudy" + ENTER)
    nvim.until("vim.fn.search('no language server runs') > 0", "the report is there")
    health = "\n".join(nvim.buffer())
    assert "looked for /nowhere/understudy" in health
    assert "pipx install ." in health
    assert "understudy doctor" not in health


def test_commands_of_the_runtime_and_of_learning(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest, lines=40)
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    nvim.type(":Understudy learn" + ENTER)
    nvim.shows("Keep what you save in ")
    nvim.type("n")
    nvim.type(":Understudy learn status" + ENTER)
    nvim.shows("learning  off")
    nvim.shows("trainer   not running")
    assert "@@@" not in nvim.terminal.text(), "the window holds all of its lines"
    nvim.type("q:Understudy report" + ENTER)
    nvim.shows("the whole report: ")
    nvim.type("q:Understudy strength" + ENTER)
    nvim.shows("0 is the base model, 1 the adapter")
    nvim.type(ENTER)
    nvim.type(":Understudy forget" + ENTER)
    nvim.shows("Forget /")
    nvim.type("n")
    nvim.type(":Understudy forget a.py" + ENTER)
    nvim.shows("Forget /")
    nvim.type("y" + ENTER)  # a long path may want it
    nvim.until("vim.api.nvim_win_get_config(0).relative ~= ''", "what was forgotten is shown")
    nvim.type("q:Understudy nonsense" + ENTER)
    nvim.shows("no command nonsense; there are adapter, ")
    killed = daemon_pid()
    nvim.type(":Understudy restart" + ENTER)
    nvim.shows("the runtime starts anew")
    nvim.ready()
    assert daemon_pid() != killed


def test_the_log_of_the_language_server(program: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(program)
    nvim.open("a.py", "x = 1\n")
    nvim.type(":Understudy log" + ENTER)
    nvim.shows("The end of /")
    nvim.type("q")
    nvim.lua("require('vim.lsp.log').error('hello')")
    nvim.type(":Understudy log" + ENTER)
    nvim.shows("hello")
    assert nvim.lua("return #require('understudy.server').clients()") == 1, "the log is no file to complete"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("{}", "understudy: no server"),
        ("{ state = 'loading', progress = 0.42 }", "understudy: loading 42%"),
        ("{ state = 'compiling' }", "understudy: compiling"),
        ("{ state = 'failed', message = 'no model' }", "understudy: failed"),
        ("{ state = 'off', noModel = true, message = 'no model yet' }", "understudy: no model yet"),
        ("{ state = 'off', noModel = true, disabled = true }", "understudy: off"),
        ("{ state = 'ready', disabled = true }", "understudy: off"),
        ("{ state = 'ready', model = 'small', strength = 1, latencyMs = 12 }", "understudy: small 12 ms"),
        (
            "{ state = 'ready', model = 'small', adapterName = 'mine', strength = 0.5 }",
            "understudy: small + mine × 0.5",
        ),
        ("{ state = 'ready', model = 'small', remote = 'team.example' }", "understudy: small remote: team.example"),
        ("{ state = 'ready', model = 'small', night = { share = 0.4 } }", "understudy: small, learning 40%"),
        ("{ state = 'off', night = { sentence = '' } }", "understudy: off, learning"),
    ],
)
def test_what_the_statusline_says(newest: Path, start: Start, status: str, line: str) -> None:
    assert start(newest).lua(f"return require('understudy.status').line({status})") == line


def test_wrong_options_are_told_and_do_no_harm(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    nvim = start(newest)
    command = f"command = '{Path(sys.executable).parent / 'understudy'}'"
    wrong = "settings = { maxLine = 3, context = { recent = false } }, kyes = {}, automatic = 'yes'"
    nvim.type(f":lua require('understudy').setup{{ {command}, {wrong} }}" + ENTER)
    nvim.shows("option automatic is a string; expected boolean")
    nvim.type(ENTER)
    told = nvim.lua("return vim.fn.execute('messages')")
    assert "option kyes is unknown; known are automatic, " in told
    assert "settings.max_line is unknown" in told
    assert "context_recent" not in told
    nvim.open("a.py", "x = 1\n")
    nvim.ready()


def test_health_help_and_completion(newest: Path, start: Start, daemon: EchoDaemon, workspace: Path) -> None:
    """As a package of Neovim's own, with help tags made by Neovim."""
    site = (
        f"vim.opt.packpath:prepend('{workspace}/site')\nvim.opt.runtimepath:remove('{PLUGIN}')\nvim.cmd.packloadall()"
    )
    package = workspace / "site/pack/understudy/start/understudy"
    package.parent.mkdir(parents=True)
    package.symlink_to(PLUGIN)
    nvim = start(newest, init=site, lines=50)
    places = nvim.lua("return require('understudy.executable').candidates(false)")
    assert str(PLUGIN.parents[1] / ".venv/bin/understudy") in places, "a package is a link to the clone"
    nvim.lua("vim.cmd.helptags(...)", str(PLUGIN / "doc"))
    nvim.type(":help understudy-key-accept" + ENTER)
    nvim.shows("Take the suggestion. A step of its own for undo.")
    nvim.type(":close" + ENTER)
    nvim.until("vim.bo.buftype == ''", "the help is closed")
    names = nvim.lua("return vim.fn.getcompletion('Understudy ', 'cmdline')")
    assert names == nvim.lua("return require('understudy.commands').names()")
    assert nvim.lua("return vim.fn.getcompletion('Understudy res', 'cmdline')") == ["restart"]
    assert nvim.lua("return vim.fn.getcompletion('Understudy learn ', 'cmdline')")[0] == "on"
    nvim.open("a.py", "x = 1\n")
    nvim.ready()
    assert nvim.lua("return vim.fn.getcompletion('Understudy adapter ', 'cmdline')") == ["base"]
    nvim.type(":checkhealth understudy" + ENTER)
    nvim.until("vim.fn.search('understudy: echo') > 0", "what serves is told")  # a long path may wrap it on the screen
    health = "\n".join(nvim.buffer())
    assert "understudy, version" in health
    assert "ERROR" not in health.split("understudy doctor")[0]


LAZY = """
local spec = %s
local modules = vim.iter(vim.fs.dir(spec.dir .. '/lua')):totable()
assert(#modules == 1, 'opts are for the one module of a plug-in')
assert(spec.name == 'understudy', 'the last part of its path is the name of other plug-ins, too')
require(modules[1][1]).setup(spec.opts)"""
PACKER = "local function use(spec) assert(spec.as == 'understudy') assert(loadstring(string.dump(spec.config, true)))() end\n%s"
"""What the managers do with a plug-in, once it is in the runtime path."""


@pytest.mark.parametrize(("manager", "does"), [("lazy.nvim", LAZY), ("packer", PACKER)])
def test_plug_in_managers_set_it_up(newest: Path, start: Start, daemon: EchoDaemon, manager: str, does: str) -> None:
    page = (PLUGIN / "doc" / "understudy.txt").read_text().replace("/path/to/understudy/editors/nvim", str(PLUGIN))
    spec = re.search(rf"With {re.escape(manager)}: >lua\n(.*?)^<$", page, re.S | re.M)
    assert spec is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    nvim = start(newest, setup=does % spec[1], environment={"PATH": path})
    nvim.open("a.py", "x = 1\n")
    nvim.ready()


def test_neovims_own_inline_completion_works_too(newest: Path, start: Start, daemon: EchoDaemon) -> None:
    """The language server without our plug-in: what any editor that speaks LSP 3.18 gets."""
    own = """
    vim.lsp.config('plain', { cmd = { vim.env.UNDERSTUDY, 'lsp', '--client', 'neovim' }, filetypes = { 'python' } })
    vim.lsp.enable('plain')
    vim.lsp.inline_completion.enable()
    vim.keymap.set('i', '<Tab>', function()
      if not vim.lsp.inline_completion.get() then return '<Tab>' end
    end, { expr = true })"""
    command = str(Path(sys.executable).parent / "understudy")
    nvim = start(newest, setup=own, environment={"UNDERSTUDY": command})
    path = nvim.folder / "a.py"
    path.write_text("x = 1\n")
    nvim.lua("vim.cmd.edit(...)", str(path))
    nvim.until("#vim.lsp.get_clients({ name = 'plain' }) == 1", "attached")
    nvim.type("oy = ")
    nvim.until("vim.fn.getline(2) == 'y = '", "typed")
    nvim.gets("y = compute(a, b)")
    nvim.type(TAB)
    nvim.until("vim.fn.getline(2) == 'y = compute(a, b)'", "accepted")
    assert nvim.save(path) == b"x = 1\ny = compute(a, b)\n"
