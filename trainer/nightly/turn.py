"""One trainer at a time: a lock that the system gives back however its holder ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_runtime import __version__
from local_runtime.daemon import lock
from local_runtime.errors import RuntimeFault
from local_runtime.places import places


class TrainerBusy(RuntimeFault):
    """Another process trains, judges or forgets."""


def lock_path() -> Path:
    """Where the lock file is."""
    return places().data / "trainer.lock"


@contextmanager
def turn() -> Iterator[None]:
    """Held inside: nobody else trains, promotes or forgets. Raises TrainerBusy at once if somebody does."""
    path = lock_path()
    descriptor = lock.take(path, __version__)
    if descriptor is None:
        holder = lock.holder(path)
        who = f"process {holder.pid}" if holder else "another process"
        raise TrainerBusy(f"another trainer is running: {who}", "understudy learn status")
    try:
        yield
    finally:
        os.close(descriptor)


def is_taken() -> bool:
    """Whether somebody trains now."""
    holder = lock.holder(lock_path())
    if holder is None or not holder.alive():
        return False
    descriptor = lock.take(lock_path(), __version__)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
