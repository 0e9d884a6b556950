"""A real Neovim in a terminal: keys go in as a terminal sends them, the screen is read back, and Lua can be asked."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil
from echo_daemon import wait_ended
from terminal import Terminal

PLUGIN = Path(__file__).resolve().parents[3] / "editors" / "nvim"
TAB, ESCAPE, ENTER, BACKSPACE = "\t", "\x1b", "\r", "\x7f"
ALT_RIGHT, ALT_DOWN, CTRL_BRACKET = "\x1b[1;3C", "\x1b[1;3B", "\x1d"
NEXT, PREVIOUS, TRIGGER = "\x1bn", "\x1bp", "\x1b/"
SOON_SECONDS = 2.0
SETUP = "require('understudy').setup{%s}"
GHOST = """
local function ghost()
  local text = {}
  for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, -1, 0, -1, { details = true })) do
    for _, piece in ipairs(mark[4].virt_text or {}) do text[#text + 1] = piece[1] end
    for _, line in ipairs(mark[4].virt_lines or {}) do
      text[#text + 1] = '\\n'
      for _, piece in ipairs(line) do text[#text + 1] = piece[1] end
    end
  end
  return table.concat(text)
end"""
"""What is shown in the current buffer beside its text, by our plug-in or Neovim itself, lines joined."""


class Neovim:
    """One Neovim with our plug-in. Use as a context manager."""

    def __init__(self, program: Path, folder: Path, *, options: str = "", init: str = "", setup: str | None = None, environment: Mapping[str, str] | None = None, lines: int = 20) -> None:  # fmt: skip
        self.folder = folder
        self.scratch = folder.parent / f"nvim-{time.monotonic_ns()}"
        self.scratch.mkdir()
        # Neovim's script for Python files asks each Python on PATH whether it can be driven: no test's matter, and a second.
        (self.scratch / "init.lua").write_text(
            "vim.g.loaded_python3_provider = 0\n"
            "vim.o.swapfile = false\nvim.o.shadafile = 'NONE'\nvim.o.laststatus = 0\nvim.o.ruler = false\n"
            f"vim.opt.runtimepath:prepend('{PLUGIN}')\n{init}\n{SETUP % options if setup is None else setup}\n"
        )
        self._socket = str(self.scratch / "s")
        places = {f"XDG_{name}_HOME": str(self.scratch) for name in ("STATE", "CONFIG", "DATA", "CACHE")}
        own = {"TERM": "xterm-256color", "NVIM_LOG_FILE": str(self.scratch / "log"), "LC_ALL": "C.UTF-8"}
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLORTERM", "NVIM")}
        command = [str(program), "-u", str(self.scratch / "init.lua"), "-i", "NONE", "-n", "--listen", self._socket]
        self.terminal = Terminal(command, inherited | own | places | dict(environment or {}), folder, lines=lines)
        self._number = 0
        try:
            self._channel = self._connect()
            self.until("vim.v.vim_did_enter == 1", "the configuration was read")
        except BaseException:
            self.terminal.__exit__()  # nobody else would end it
            raise

    def __enter__(self) -> Neovim:
        return self

    def __exit__(self, *_: object) -> None:
        """End Neovim by force; its language servers end by themselves, as there is nobody to serve."""
        self._channel.close()
        started = [] if self.terminal.ended() else psutil.Process(self.terminal.pid).children(recursive=True)
        self.terminal.__exit__()
        wait_ended(started)

    def quit(self) -> None:
        """End as a user does, and wait for it."""
        self.leave()
        self.type(f":qall!{ENTER}")
        self.terminal.wait()

    def type(self, keys: str) -> None:
        """Send keys."""
        self.terminal.type(keys)

    def open(self, name: str, content: str | bytes) -> Path:
        """Write a file, open it, and wait until the language server has it."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.lua("vim.cmd.edit(...)", str(path))
        self.attached()
        return path

    def attached(self) -> None:
        """Wait until the language server has the current file."""
        self.until("require('understudy.server').client(0) ~= nil", "the language server is attached")

    def ready(self) -> None:
        """Wait until the model answers."""
        self.until("require('understudy.status').of(require('understudy.server').client(0)).state == 'ready'", "ready")

    def line(self, number: int) -> str:
        """A line of the buffer, from 1."""
        return str(self.lua("return vim.fn.getline(...)", number))

    def buffer(self) -> list[str]:
        """All lines of the buffer."""
        return list(self.lua("return vim.api.nvim_buf_get_lines(0, 0, -1, false)"))

    def ghost(self) -> str:
        """What is shown in grey as it is now, on the screen or about to be."""
        return str(self.lua(f"{GHOST} return ghost()"))

    def shows(self, text: str) -> None:
        """Wait until a text is on the screen."""
        self.terminal.shows(text)

    def suggests(self, text: str) -> None:
        """Wait until the current line with its ghost text holds `text`, both in the buffer as it is now and on the screen.

        The screen alone may be an old one: typing along a suggestion does not change how the line looks.
        """
        self.terminal.until(lambda: self._is_suggested(text), f"{text!r} is suggested")
        self.terminal.shows(text)

    def _is_suggested(self, text: str) -> bool:
        before = "vim.api.nvim_get_current_line():sub(1, vim.api.nvim_win_get_cursor(0)[2])"
        return text in self.lua(f"{GHOST} return {before} .. ghost()")

    def gets(self, text: str) -> None:
        """As `suggests`, for what may come late: type a character and delete it, again and again, as a user types on."""

        def got() -> bool:
            before = self.lua("return vim.b.changedtick")
            self.type("q" + BACKSPACE)
            self.until(f"vim.b.changedtick >= {before + 2}", "typed and deleted")
            patience = time.monotonic() + SOON_SECONDS
            while not (found := self._is_suggested(text)) and time.monotonic() < patience:
                self.terminal.read(0.05)
            return found

        self.terminal.until(got, f"{text!r} is suggested")
        self.terminal.shows(text)

    def until(self, expression: str, what: str) -> None:
        """Wait until a Lua expression is true, reading the screen meanwhile."""
        self.terminal.until(lambda: self.lua(f"return ({expression}) and true or false"), what)

    def leave(self) -> None:
        """Leave insert mode. Keys that come right behind Escape would be taken for its Alt."""
        self.type(ESCAPE)
        self.until("vim.api.nvim_get_mode().mode == 'n'", "normal mode")

    def save(self, path: Path) -> bytes:
        """Leave insert mode and write the file; its bytes."""
        self.leave()
        self.type(f":write{ENTER}")
        self.until("not vim.bo.modified and vim.api.nvim_get_mode().mode == 'n'", "the file is written")
        return path.read_bytes()

    def lua(self, code: str, *arguments: object) -> Any:
        """Run Lua in Neovim."""
        self._number += 1
        request = [0, self._number, "nvim_exec_lua", [code, list(arguments)]]
        self._channel.sendall(msgspec.msgpack.encode(request))
        answer: list[Any] = []
        received = b""

        def answered() -> bool:
            nonlocal received
            try:
                received += self._channel.recv(65_536)
                answer[:] = msgspec.msgpack.decode(received)
            except (BlockingIOError, msgspec.DecodeError):
                return False  # not all of it is here
            return True

        self.terminal.until(answered, f"Neovim answers {code!r}", also=self._channel)
        _, number, error, result = answer
        assert number == self._number
        assert error is None, error
        return result

    def _connect(self) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX)

        def connected() -> bool:
            try:
                channel.connect(self._socket)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            channel.setblocking(False)
            return True

        self.terminal.until(connected, "Neovim listens")
        return channel
