"""One trainer at a time: a lock that the system gives back however its holder ends; and a way to ask its holder to leave."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local_runtime import __version__
from local_runtime.daemon import lock
from local_runtime.errors import RuntimeFault
from local_runtime.places import folder, places

POLL_SECONDS = 0.1
GHOST_SECONDS = 10.0
"""A lock that outlives its holder is a child between fork and exec: it is gone in a moment."""
WISH_SECONDS = 10.0
"""A wish that was renewed longer ago than this is nobody's any more: who had it was killed."""


class TrainerBusy(RuntimeFault):
    """Another process trains, judges or forgets."""


class TurnWanted(RuntimeFault):
    """What runs has to leave: its user wants something forgotten. Its run stays to be taken up."""


def lock_path() -> Path:
    """Where the lock file is."""
    return places().data / "trainer.lock"


def wanted_path() -> Path:
    """Renewed again and again, it asks whoever trains to leave."""
    return places().data / "trainer.wanted"


@contextmanager
def turn(wait_seconds: float = 0.0) -> Iterator[None]:
    """Held inside: nobody else trains, promotes or forgets.

    With `wait_seconds` whoever trains is asked to leave. Raises TrainerBusy if somebody still does then.
    """
    path = lock_path()
    descriptor = lock.take(path, __version__)
    if descriptor is None and wait_seconds:
        wanted = folder(path.parent) / wanted_path().name
        try:
            descriptor = _taken_within(path, wait_seconds, wanted)
        finally:
            wanted.unlink(missing_ok=True)
    elif descriptor is None and not _is_alive(path):
        descriptor = _taken_within(path, GHOST_SECONDS)
    if descriptor is None:
        holder = lock.holder(path)
        who = f"process {holder.pid}" if holder else "another process"
        raise TrainerBusy(f"another trainer is running: {who}", "understudy learn status")
    try:
        yield
    finally:
        os.close(descriptor)


def _taken_within(path: Path, seconds: float, wanted: Path | None = None) -> int | None:
    deadline = time.monotonic() + seconds
    descriptor = None
    while descriptor is None and time.monotonic() < deadline:
        if wanted is not None:
            wanted.touch(mode=0o600)
        time.sleep(POLL_SECONDS)
        descriptor = lock.take(path, __version__)
    return descriptor


def _is_alive(path: Path) -> bool:
    holder = lock.holder(path)
    return holder is not None and holder.alive()


def leave_if_wanted() -> None:
    """Called by whoever holds the turn, often. Raises TurnWanted."""
    with suppress(FileNotFoundError):
        if abs(time.time() - wanted_path().stat().st_mtime) > WISH_SECONDS:
            return
        raise TurnWanted("the night was ended for `understudy forget`; it is taken up later")


def holder_pid() -> int | None:
    """Who trains now, if anybody."""
    descriptor = None
    holder = lock.holder(lock_path())
    if holder is None or not holder.alive():
        return None
    try:
        descriptor = lock.take(lock_path(), __version__)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return holder.pid if descriptor is None else None
