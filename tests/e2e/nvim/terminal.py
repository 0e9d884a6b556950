"""A terminal for tests: a program on a pseudo-terminal, its screen, and waiting until the screen shows something."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte

PATIENCE_SECONDS = 180.0
# What pyte does not know and would print or take for something else: device control strings, private modes and queries.
_UNKNOWN = re.compile(rb"\x1bP.*?\x1b\\|\x1b\[[<>=][0-9;:]*[a-zA-Z]|\x1b\[\?[0-9;]*(?:\$p|u)|\x1b\[[0-9]* q", re.S)
_UNFINISHED = re.compile(rb"\x1b(?:P(?:(?!\x1b\\).)*|\[[0-9;:<>=?$ ]*|\](?:(?!\x07|\x1b\\).)*)?\Z", re.S)
_COLOUR = re.compile(rb"\x1b\[[0-9;]*[34]8:[0-9:;]*m")


class _Screen(pyte.Screen):
    """Answers the program's questions about the terminal."""

    answer: Callable[[str], None]

    def write_process_input(self, data: str) -> None:
        self.answer(data)


class Terminal:
    """One program. Use as a context manager: at its end the program is gone."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, columns: int = 80, lines: int = 20) -> None:  # fmt: skip
        self.screen = _Screen(columns, lines)
        self.screen.answer = self.type
        self._stream = pyte.ByteStream(self.screen)
        self._held = b""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(folder)
                os.execve(command[0], list(command), dict(environment))
            finally:
                os._exit(127)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.ended():
            os.close(self._fd)
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def type(self, keys: str) -> None:
        """Send keys as a terminal does."""
        os.write(self._fd, keys.encode())

    def text(self) -> str:
        """The screen as text."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def row(self, number: int) -> str:
        """One line of the screen, from 0."""
        return self.screen.display[number].rstrip()

    def until(self, holds: Callable[[], object], what: str, also: socket.socket | None = None) -> None:
        """Read what the program draws until `holds`; fail with the screen after a long while. News on `also` is news, too."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            left = deadline - time.monotonic()
            assert left > 0, f"waited until {what}; the screen:\n{self.text()}"
            assert self.read(min(left, 0.05), also), f"ended before {what}; the screen:\n{self.text()}"

    def shows(self, text: str) -> None:
        """Wait until `text` is somewhere on the screen."""
        self.until(lambda: text in self.text(), f"{text!r} on the screen")

    def read(self, seconds: float, also: socket.socket | None = None) -> bool:
        """Take in what is there, waiting at most so long; False once the program has ended."""
        waiting = [self._fd, *([also.fileno()] if also else [])]
        if self._fd in select.select(waiting, [], [], seconds)[0]:
            try:
                data = os.read(self._fd, 65_536)
            except OSError:  # how Linux says that the other side is closed
                return False
            if not data:
                return False
            self._feed(data)
        return True

    def wait(self) -> None:
        """Wait until the program has ended by itself."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.read(0.05):
            assert time.monotonic() < deadline, f"the program does not end; the screen:\n{self.text()}"
        while not self.ended():
            assert time.monotonic() < deadline, "the program does not end"
            select.select([], [], [], 0.01)

    def ended(self) -> bool:
        """Whether the program is gone."""
        if self.pid:
            done, _ = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = 0
        return not self.pid

    def _feed(self, data: bytes) -> None:
        data = self._held + data
        unfinished = _UNFINISHED.search(data)
        self._held = data[unfinished.start() :] if unfinished else b""
        data = data[: len(data) - len(self._held)]
        data = _COLOUR.sub(lambda found: found[0].replace(b"::", b":").replace(b":", b";"), _UNKNOWN.sub(b"", data))
        self._stream.feed(data)
