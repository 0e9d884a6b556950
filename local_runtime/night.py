"""The night that goes on now: its trainer notes how far it is, whoever looks from outside shows it. One small file that both know."""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from local_runtime.daemon.lock import Holder
from local_runtime.places import places

MOST_BYTES = 4096
"""Of the file, which is not trusted: who can write it could write anything."""


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """How far a night is."""

    by: Holder
    """The process that works on it."""
    run: str
    """Id of the run."""
    stage: str
    done: int = 0
    """Of `total`: optimiser steps, then questions of the gate. Both 0 where there is nothing to count."""
    total: int = 0
    stands_still: str = ""
    """In a sentence, why it makes way now; empty while it goes on."""

    @property
    def share(self) -> float | None:
        """How much of the stage is done, 0 to 1; None if that cannot be told."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else None


def read_night() -> Night | None:
    """The night that a living process works on, noted in `places().night`. What a killed one left, or what cannot be read, is none."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        descriptor = os.open(places().night, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            night = msgspec.json.decode(file.read(MOST_BYTES), type=Night)
        return night if night.by.alive() else None
    return None
