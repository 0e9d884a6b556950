"""A disk that takes no more: known by the system's own number, in one place, and said in a sentence."""

from __future__ import annotations

import errno
from pathlib import Path

from local_runtime.errors import RuntimeFault
from local_runtime.places import places

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskFull(RuntimeFault):
    """There is no room for what was to be written; what was written before is whole, and the same can be done again later."""

    def __init__(self) -> None:
        super().__init__("the disk is full; the run waits until there is room", f"df -h {places().data}")


def disk_fault(problem: OSError, where: Path | None = None, doing: str = "") -> RuntimeFault:
    """What to say when the system refuses to read or write: DiskFull, or a sentence with the file and the system's reason."""
    if problem.errno in _NO_ROOM:
        return DiskFull()
    return RuntimeFault(f"{where or problem.filename or places().data}: {doing}{problem.strerror or problem}")
