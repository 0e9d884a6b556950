"""One trainer at a time: a lock that its holder keeps for life, and a way to ask it to leave."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from local_runtime.errors import RuntimeFault
from local_runtime.places import places
from trainer.nightly.process_lock import hold, holder_pid

WISH_SECONDS = 10.0
"""A wish that was renewed longer ago than this is nobody's any more: who had it was killed."""


class TrainerBusy(RuntimeFault):
    """Another process trains, judges or forgets."""


class LockWanted(RuntimeFault):
    """What runs has to leave: its user wants something forgotten. Its run stays to be taken up."""


def lock_path() -> Path:
    """Where the lock file is."""
    return places().data / "trainer.lock"


def wanted_path() -> Path:
    """Renewed again and again, it asks whoever trains to leave."""
    return places().data / "trainer.wanted"


@contextmanager
def trainer_lock(wait_seconds: float = 0.0) -> Iterator[None]:
    """Held inside: nobody else trains, promotes or forgets.

    With `wait_seconds` whoever trains is asked to leave. Raises TrainerBusy if somebody still does then.
    """
    path, wanted = lock_path(), wanted_path()
    try:
        descriptor = hold(path, wait_seconds, partial(wanted.touch, mode=0o600) if wait_seconds else lambda: None)
    finally:
        if wait_seconds:
            wanted.unlink(missing_ok=True)
    if descriptor is None:
        pid = trainer_pid()
        who = f"process {pid}" if pid else "another process"
        raise TrainerBusy(f"another trainer is running: {who}", "understudy learn status")
    try:
        yield
    finally:
        os.close(descriptor)


def leave_if_wanted() -> None:
    """Called by whoever holds the lock, often. Raises LockWanted."""
    with suppress(FileNotFoundError):
        if abs(time.time() - wanted_path().stat().st_mtime) > WISH_SECONDS:
            return
        raise LockWanted("the night was ended for `understudy forget`; it is taken up later")


def trainer_pid() -> int | None:
    """Who trains now, if anybody."""
    return holder_pid(lock_path())
