"""Another plug-in on the daemon's loopback port: llama.vim itself, as its authors wrote it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from echo_daemon import EchoDaemon
from llama_vim import CannotFetch, script
from neovim import BACKSPACE, TAB, Neovim

from local_runtime.client.client import Client
from local_runtime.client.sockets import token_path
from local_runtime.daemon.guard import read_token

pytestmark = pytest.mark.e2e
ANSWER = "math.pi * r"
AREA = "import math\n\ndef area(r):\n    return {}\n\nprint(area(2))\n"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plug-in folder with the script in it."""
    try:
        found = script()
    except CannotFetch as problem:
        pytest.skip(str(problem))
    autoload = tmp_path / "plugin" / "autoload"
    autoload.mkdir(parents=True)
    shutil.copy(found, autoload)
    return autoload.parent


def test_llama_vim_shows_and_takes_a_suggestion(
    newest: Path, workspace: Path, plugin: Path, daemon: EchoDaemon
) -> None:
    daemon.says(ANSWER)
    with Client(overrides={"port": 0}) as client:
        port = client.wait_ready().port
    # This version knows no api_key: the token goes into the address. Given as a whole, a configuration replaces its own.
    endpoint = f"http://127.0.0.1:{port}/t/{read_token(token_path())}/infill"
    setup = f"""
    vim.opt.runtimepath:prepend('{plugin}')
    vim.cmd('call llama#init()')
    vim.cmd("let g:llama_config.endpoint = '{endpoint}'")"""
    with Neovim(newest, workspace, setup=setup) as nvim:
        path = workspace / "area.py"
        path.write_text(AREA.format(""))
        nvim.lua("vim.cmd.edit(...)", str(path))
        nvim.type("4GA " + BACKSPACE)
        nvim.suggests(f"    return {ANSWER}")
        nvim.type(TAB)
        nvim.until(f"vim.fn.getline(4) == '    return {ANSWER}'", "accepted")
        assert nvim.save(path).decode() == AREA.format(ANSWER)
