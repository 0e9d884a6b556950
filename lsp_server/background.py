"""Commands of the trainer, which this package must not import: they run beside it, outlive the editor, and tell how they ended."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import entry_points
from tempfile import TemporaryFile
from typing import IO

from local_runtime.pip_command import install_extra

POLL_SECONDS = 1.0
MOST_BYTES = 65_536
"""Of what a command printed last."""


class Background:
    """What was started from one editor. `tell(sentence, went_well)` is called on the event loop when one failed or ended a night."""

    def __init__(self, tell: Callable[[str, bool], None]) -> None:
        self._tell = tell
        self._waiting: set[asyncio.Task[None]] = set()

    def start(self, what: str, *command: str) -> None:
        """Start `understudy COMMAND`; `what` names it for people. Raises ValueError if that cannot be."""
        if not has_command(command[0]):
            raise ValueError(f"`understudy {command[0]}` is not installed; {install_extra('train')}")
        with ExitStack() as stack:
            try:
                # Files, since the end of a pipe would end the command with this process.
                said, errors = (stack.enter_context(TemporaryFile()) for _ in range(2))
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", "from local_runtime.cli.command import main; main()", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=errors,
                    env=os.environ | {"NO_COLOR": "1"},
                    start_new_session=True,
                )
            except OSError as problem:
                raise ValueError(f"`understudy {command[0]}` could not be started: {problem}") from problem
            waiting = asyncio.create_task(self._wait(what, process, said, errors, stack.pop_all()))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

    async def _wait(
        self, what: str, process: subprocess.Popen[bytes], said: IO[bytes], errors: IO[bytes], files: ExitStack
    ) -> None:
        with files:
            while process.poll() is None:  # not in a thread: it would keep this process alive
                await asyncio.sleep(POLL_SECONDS)
            outcome, fault = night_outcome(_last(said)), fault_told(_last(errors), process.returncode)
        if process.returncode:
            self._tell(f"{what} failed: {fault}", False)
        elif outcome is not None:
            self._tell(f"{what} has ended: {outcome}", True)


def has_command(name: str) -> bool:
    """Whether a package brings `understudy NAME`."""
    return any(entry.name == name for entry in entry_points(group="understudy.commands"))


def night_outcome(printed: str) -> str | None:
    """What became of the night that a command ran; None if it ran none."""
    ended = re.findall(r"^ *done {2}(.+)$", printed, re.M)
    return ended[-1] if ended else None


def fault_told(errors: str, status: int) -> str:
    """The fault that ended a command, with the way to mend it; warnings of libraries before it are left out."""
    faults = re.split(r"^understudy: ", errors, flags=re.M)[1:]
    if faults:
        return re.sub(r"\.? to mend it: ", ". To mend it: ", " ".join(faults[-1].split()))
    return f"it was ended by signal {-status}" if status < 0 else f"it ended with status {status}"


def _last(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MOST_BYTES))
    return file.read().decode(errors="replace")
