"""`mlc_llm serve` in a process of its own, on a free port of this machine."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from local_runtime.errors import BuildFailed, RemoteFailed
from local_runtime.mlc_llm.command import MlcCommand, last_words
from local_runtime.remote.address import parse_address
from local_runtime.remote.connection import Connection

START_SECONDS = 600.0
"""mlc_llm loads the weights onto the device before it answers."""
LOOK_SECONDS = 0.1
END_SECONDS = 15.0
_DEAD_THREAD = re.compile(rb"^Exception in thread .*\n(.*\n)*?[\w.]*(Error|Exception)\b", re.MULTILINE)
"""What Python says when MLC's engine ends in its thread: the process goes on, and answers nothing."""
_LAST_BYTES = 1 << 16


class MlcServer:
    """A server that answers; `connection` leads to it. It ends with this process, however that ends."""

    def __init__(self, command: MlcCommand, folder: Path, library: Path, log: Path, ending: threading.Event) -> None:
        """Returns when it answers. Raises BuildFailed if it does not, or if `ending` is set meanwhile."""
        port = _free_port()
        line = [sys.executable, "-m", "local_runtime.mlc_llm.watched", *command.serve(folder, library, port)]
        self._ended = False
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        self.connection = Connection(parse_address(f"http://127.0.0.1:{port}"))
        try:
            self._wait_ready(ending)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process runs, and its threads do."""
        return self._process.poll() is None and not self._hangs()

    def close(self) -> None:
        """End it."""
        if self._ended:
            return
        self._ended = True
        self.connection.close()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hangs(self) -> bool:
        # Variants that were used long ago are deleted, and their logs with them.
        with suppress(FileNotFoundError), self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LAST_BYTES))
            return _DEAD_THREAD.search(log.read()) is not None
        return False

    def _wait_ready(self, ending: threading.Event) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                status = self._process.poll()
                how = "hangs" if status is None else f"ended with status {status}"
                raise BuildFailed(f"mlc_llm serve {how}: {last_words(self._log)}", f"less {self._log}")
            with suppress(RemoteFailed):
                self.connection.look("/v1/models")
                return
            if ending.wait(LOOK_SECONDS):
                raise BuildFailed("mlc_llm serve was ended")
        raise BuildFailed(f"mlc_llm serve does not answer after {START_SECONDS:g} seconds", f"less {self._log}")


def _free_port() -> int:
    """A port that was free a moment ago: mlc_llm cannot be handed a socket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
