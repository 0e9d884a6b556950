"""Locks that a process holds for as long as it lives: the system gives them back however it ends, kill -9 and power cut included."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from local_runtime import __version__
from local_runtime.client import lock

POLL_SECONDS = 0.1
GHOST_SECONDS = 10.0
"""A lock that outlives its holder is a child between fork and exec: it is gone in a moment."""
GLANCE_SECONDS = 0.5
"""Whoever only asks who holds a lock is in its way for less than this."""


def hold(path: Path, wait_seconds: float = 0.0, meanwhile: Callable[[], None] = lambda: None) -> int | None:
    """Take a lock; the descriptor to close when it is to be given back, None if somebody else keeps it.

    `meanwhile` is called again and again while it waits.
    """
    descriptor = lock.take(path, __version__)
    if descriptor is None:
        holder = lock.holder(path)
        least = GLANCE_SECONDS if holder is not None and holder.alive() else GHOST_SECONDS
        deadline = time.monotonic() + max(wait_seconds, least)
        while descriptor is None and time.monotonic() < deadline:
            meanwhile()
            time.sleep(POLL_SECONDS)
            descriptor = lock.take(path, __version__)
    return descriptor


def holder_pid(path: Path) -> int | None:
    """Who holds a lock now, if anybody. Leaves no trace."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = lock.holder(path)
        return holder.pid if holder is not None and holder.alive() else None
    finally:
        os.close(descriptor)
    return None
