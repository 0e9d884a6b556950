"""The daemon behind a test: what it says, and its end."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PATIENCE_SECONDS = 180.0
POLL_SECONDS = 0.02
PATIENT = "[lsp]\ndeadline_ms = 10_000\ninvoked_deadline_ms = 60_000\n"
"""Settings for a busy machine: what is late is not missing. Tests of deadlines set their own."""


class EchoDaemon:
    """Writes what the echo engine is to say; servers start the daemon by themselves."""

    def __init__(self, home: Path, configuration: str = "") -> None:
        self.home = home
        self._configuration = configuration
        self.says("compute", "(a,", " b)")

    def says(self, *pieces: str, **script: Any) -> None:
        """The answer to everything."""
        self.write({"default": {"pieces": list(pieces), **script}})

    def write(self, script: dict[str, Any]) -> None:
        """The whole script; see `local_runtime.daemon.serving.EchoFile`."""
        config, answers = self.home / "config", self.home / "echo.json"
        config.mkdir(parents=True, exist_ok=True)
        (config / "config.toml").write_text(f'[runtime]\nengine = "echo:{answers}"\n{self._configuration}')
        answers.write_text(json.dumps({"forward_ms": 5.0} | script))


def daemons(home: Path) -> list[psutil.Process]:
    """The daemons of a home, listening or not yet."""
    found = []
    for process in psutil.process_iter():
        try:
            is_daemon = "local_runtime.daemon" in process.cmdline() and lives(process)
            if is_daemon and process.environ().get("UNDERSTUDY_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_daemons(home: Path) -> None:
    """End a home's daemon without ado, and any that an editor was just starting: nothing of a test outlives it."""
    while running := daemons(home):
        for one in running:
            one.kill()
        wait_ended(running)


def wait_ended(processes: Sequence[psutil.Process]) -> None:
    """Wait until these have ended; whether they are still in the table of processes is their parents' affair."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := [one for one in processes if lives(one)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(POLL_SECONDS)


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
