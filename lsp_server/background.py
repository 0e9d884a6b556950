"""Commands of the trainer, which this package must not import: they run beside it, outlive the editor, and tell how they ended."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from tempfile import TemporaryFile
from typing import IO

from local_runtime.pip_command import install_extra

POLL_SECONDS = 1.0
FAULT = "understudy: "
"""How a command begins to tell what went wrong."""


class Background:
    """What was started from one editor. `tell(sentence, went_well)` is called at the end of each, on the event loop."""

    def __init__(self, tell: Callable[[str, bool], None]) -> None:
        self._tell = tell
        self._waiting: set[asyncio.Task[None]] = set()

    def start(self, *command: str) -> None:
        """Start `understudy COMMAND`. Raises ValueError if it is not installed."""
        if not has_command(command[0]):
            raise ValueError(f"`understudy {command[0]}` is not installed; {install_extra('train')}")
        printed = TemporaryFile()  # noqa: SIM115 - a pipe would end the command with this process
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from local_runtime.command import main; main()", *command],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=os.environ | {"NO_COLOR": "1"},
            start_new_session=True,
        )
        waiting = asyncio.create_task(self._wait(command, process, printed))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

    async def _wait(self, command: tuple[str, ...], process: subprocess.Popen[bytes], printed: IO[bytes]) -> None:
        with printed:
            while process.poll() is None:  # not in a thread: it would keep this process alive
                await asyncio.sleep(POLL_SECONDS)
            printed.seek(0)
            told = printed.read().decode(errors="replace")
        went_well = process.returncode == 0
        ending = _outcome(told) if went_well else _fault(told)
        self._tell(f"understudy {' '.join(command)}: {ending}", went_well)


def has_command(name: str) -> bool:
    """Whether a package brings `understudy NAME`."""
    return any(entry.name == name for entry in entry_points(group="understudy.commands"))


def _outcome(told: str) -> str:
    """The last line, without the name of a night's stage before it."""
    lines = told.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "done")
    return re.sub(r"^[a-z]+ {2}", "", last)


def _fault(told: str) -> str:
    """The fault that ended it, and the way to mend it; warnings of libraries before it are left out."""
    _, _, fault = told.rpartition(FAULT)
    return re.sub(r"\.? to mend it: ", ". To mend it: ", " ".join(fault.split())) or "it failed"
