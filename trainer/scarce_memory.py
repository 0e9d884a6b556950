"""Memory that is not there: known by what Python, NumPy, PyTorch and the system raise, in one place, and said in a sentence."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from local_runtime.errors import OutOfMemory

REMEDY = (
    "close other programs, then: understudy learn now; understudy train --estimate tells what a smaller --preset takes"
)
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "can't start new thread",
    "bad_alloc",
    "failed to map segment",
)
"""Of errors that have no type of their own: PyTorch's DefaultCPUAllocator, a thread without a stack, a library without room."""


def memory_fault(problem: BaseException, doing: str = "to train") -> OutOfMemory | None:
    """What to say if memory was what a failure wanted; None if it was something else."""
    return (
        OutOfMemory(f"there was not enough memory {doing}; the adapter that serves goes on serving", REMEDY)
        if _wanted_memory(problem)
        else None
    )


def _wanted_memory(problem: BaseException) -> bool:
    torch = sys.modules.get("torch")  # who has not loaded it cannot have been failed by it
    if isinstance(problem, MemoryError) or (torch is not None and isinstance(problem, torch.OutOfMemoryError)):
        return True
    if isinstance(problem, OSError):
        return problem.errno == errno.ENOMEM
    return isinstance(problem, RuntimeError | ImportError) and any(word in str(problem).lower() for word in _WORDS)


@contextmanager
def memory_faults(doing: str = "to train") -> Iterator[None]:
    """Whatever fails inside for want of memory is raised as OutOfMemory; all else as it is."""
    try:
        yield
    except Exception as problem:
        fault = memory_fault(problem, doing)
        if fault is None:
            raise
        raise fault from problem
