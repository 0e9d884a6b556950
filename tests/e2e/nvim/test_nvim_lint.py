"""The plug-in's Lua: luacheck finds nothing, and every file is a house-sized one."""

from __future__ import annotations

import subprocess

import pytest
from conftest import set_up
from neovim import PLUGIN

pytestmark = pytest.mark.e2e
MAX_LINES = 300


def test_luacheck_finds_nothing() -> None:
    luacheck = set_up("forky").parent / "luacheck"
    if not luacheck.exists():
        pytest.skip(f"no {luacheck}: $UNDERSTUDY_TEST_NVIM names a Neovim without it")
    command = [str(luacheck), "--no-color", "--config", ".luacheckrc", "lua", "plugin"]
    done = subprocess.run(command, check=False, cwd=PLUGIN, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_file_can_be_read_at_a_sitting() -> None:
    long = {path.name: n for path in PLUGIN.rglob("*.lua") if (n := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}
