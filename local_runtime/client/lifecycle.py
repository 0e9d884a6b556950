"""Starting and ending the daemon from outside. Race-free: however many start one at once, one serves."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from local_runtime.client import lock
from local_runtime.client.sockets import crash_path, lock_path, private_folder, socket_path
from local_runtime.errors import DaemonUnreachable

START_SECONDS = 20.0
STOP_SECONDS = 15.0
CRASH_LOG_BYTES = 1 << 20


def start(overrides: Mapping[str, str | int | float] | None = None, seconds: float = START_SECONDS) -> bool:
    """Have a daemon that listens: False if there was one already. The model may still be loading then.

    Raises DaemonUnreachable with what the new process said last.
    """
    deadline = time.monotonic() + seconds
    pause_seconds = 0.02
    while True:
        word = _spawn(overrides or {}, deadline)
        if word == "listening":
            return True
        if word != "busy":
            raise DaemonUnreachable(f"the daemon did not start: {word or _last_words()}", "understudy doctor")
        # Somebody holds the lock: one that serves, one that is just starting, or one that is going. Time will tell.
        if answers():
            return False
        if time.monotonic() > deadline:
            raise DaemonUnreachable("a daemon runs but does not listen", "understudy runtime stop --force")
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, 0.5)


def answers() -> bool:
    """Whether somebody accepts connections on the socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_path()))
        except OSError:
            return False
        return True


def wait_gone(pid: int, seconds: float = STOP_SECONDS) -> bool:
    """Wait until that daemon has ended. False if it has not in time."""
    deadline = time.monotonic() + seconds
    pause_seconds = 0.01
    while True:
        holder = lock.holder(lock_path())
        if holder is None or holder.pid != pid or not holder.alive():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, 0.2)


def kill(seconds: float = STOP_SECONDS) -> int | None:
    """End a daemon that no longer answers, by force if it must be; its pid, or None if there is none."""
    holder = lock.holder(lock_path())
    if holder is None or not holder.alive():
        return None
    for number, patience in ((signal.SIGTERM, seconds / 2), (signal.SIGKILL, seconds / 2)):
        with suppress(ProcessLookupError):
            os.kill(holder.pid, number)
        if wait_gone(holder.pid, patience):
            return holder.pid
    raise DaemonUnreachable(f"process {holder.pid} does not end", f"kill -9 {holder.pid}")


def _spawn(overrides: Mapping[str, str | int | float], deadline: float) -> str:
    """Start one process and return its word: `listening`, `busy`, what failed, or nothing if it died."""
    private_folder(crash_path().parent)
    read_fd, write_fd = os.pipe()
    try:
        with open(crash_path(), "ab", opener=_private) as crashes:
            if crashes.tell() > CRASH_LOG_BYTES:
                crashes.truncate(0)
            # -P: a folder that happens to be the editor's current one must not be able to shadow our modules.
            command = [
                sys.executable,
                "-P",
                "-m",
                "local_runtime.daemon",
                msgspec.json.encode(overrides).decode(),
                str(write_fd),
            ]
            # The child forks at once and leaves: what is waited for here takes milliseconds.
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=crashes, stderr=crashes, pass_fds=(write_fd,), env=_environment(),
                check=False, timeout=START_SECONDS, start_new_session=True,
            )  # fmt: skip
    finally:
        os.close(write_fd)
    with os.fdopen(read_fd, "rb", buffering=0) as said:
        ready, _, _ = select.select([said], [], [], max(0.0, deadline - time.monotonic()))
        return said.read(4096).decode("utf-8", "replace") if ready else "it said nothing in time"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _environment() -> dict[str, str]:
    """Ours, with a home that still means the same in the daemon, which runs in `/`."""
    environment = dict(os.environ)
    if home := environment.get("UNDERSTUDY_HOME"):
        environment["UNDERSTUDY_HOME"] = os.path.abspath(os.path.expanduser(home))  # noqa: PTH100, PTH111 - keeps symlinks
    return environment


def _last_words() -> str:
    try:
        lines = crash_path().read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it ended without a word"
