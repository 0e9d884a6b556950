"""Arrays that kernels read and write: aligned as they assume, shared with numpy without copies."""

from __future__ import annotations

import importlib
import mmap
import sys
from functools import cache
from typing import Any

import numpy as np

ALIGNMENT = 64
"""Bytes. The kernels use aligned vector loads."""

Array = np.ndarray[Any, np.dtype[Any]]


def aligned_zeros(shape: tuple[int, ...], dtype: str) -> Array:
    """Zeros at an aligned address; memory is taken when it is first touched."""
    size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    # Mapped, not np.zeros: numpy asks for huge pages, which take 2 MB for the first touch of each layer's part of a pool.
    memory = mmap.mmap(-1, max(size_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, np.uint8, size_bytes).view(dtype).reshape(shape)


def aligned(array: Array) -> Array:
    """The array itself if the kernels can take it, else an aligned copy."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0 and array.flags.writeable:
        return array
    copy = aligned_zeros(array.shape, array.dtype.str)
    copy[...] = array
    return copy


def tensor(array: Array) -> Any:
    """A tensor over the array's memory, which it keeps alive."""
    return ffi().from_dlpack(aligned(array))


@cache
def ffi() -> Any:
    """The module `tvm_ffi`. It imports torch wherever torch is installed, for 0.8 s and 200 MB: here it finds none."""
    if "torch" in sys.modules:
        return importlib.import_module("tvm_ffi")
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("tvm_ffi")
    finally:
        del sys.modules["torch"]
