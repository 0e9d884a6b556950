"""The single-instance lock: held by the daemon for its whole life, and given back by the system however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec
import psutil

from local_runtime.client.sockets import private_folder


class Holder(msgspec.Struct, frozen=True):
    """Who holds, or last held, the lock."""

    pid: int
    started: float
    """The process' creation time (s since the epoch): a pid alone may have been given to another process since."""
    version: str = ""

    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, ValueError, OverflowError):  # the last two: no process can have such a number
            return False


def own(version: str = "") -> Holder:
    """This process."""
    return Holder(os.getpid(), psutil.Process().create_time(), version)


def take(path: Path, version: str) -> int | None:
    """Lock `path` and write who we are into it; None if somebody else holds it. The descriptor is kept open for life."""
    private_folder(path.parent)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        try:
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)  # somebody removed the file between our open and our lock: that lock guards nothing
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(own(version)), 0)
    return descriptor


def holder(path: Path) -> Holder | None:
    """Who wrote itself into the lock file last; whether it is still alive is for `Holder.alive` to say."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
