"""The night that goes on now: its trainer notes how far it is, whoever looks from outside shows it. One small file that both know."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated

import msgspec

from local_runtime.client.lock import Holder
from local_runtime.places import places

MOST_BYTES = 4096
"""Of the file, which is not trusted."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """How far a night is."""

    by: Holder
    """The process that works on it."""
    run: str
    """Id of the run."""
    stage: str
    done: Count = 0
    """Of `total`: optimiser steps, then questions of the gate. Both 0 where there is nothing to count."""
    total: Count = 0
    stands_still: str = ""
    """In a sentence, why it makes way now; empty while it goes on."""

    @property
    def share(self) -> float | None:
        """How much of the stage is done, 0 to 1; None if that cannot be told."""
        return min(self.done / self.total, 1.0) if self.total else None


def read_night() -> Night | None:
    """The night that a living process works on, noted in `places().night`. What a killed one left, or what cannot be read, is none."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        night = msgspec.json.decode(_content(), type=Night)
        is_plain = all(text.isprintable() for text in (night.run, night.stage, night.stands_still))
        return night if is_plain and night.by.alive() else None
    return None


def _content() -> bytes:
    """The file, if it is one: a pipe or a link in its place is neither waited for nor followed."""
    descriptor = os.open(places().night, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)
