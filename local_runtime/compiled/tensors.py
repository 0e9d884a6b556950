"""Arrays that kernels read and write: aligned as they assume, shared with numpy without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm_ffi

ALIGNMENT = 64
"""Bytes. The kernels use aligned vector loads."""

Array = np.ndarray[Any, np.dtype[Any]]


def aligned_zeros(shape: tuple[int, ...], dtype: str) -> Array:
    """Zeros at an aligned address; memory is taken when it is first touched."""
    size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size_bytes].view(dtype).reshape(shape)


def aligned(array: Array) -> Array:
    """The array itself if the kernels can take it, else an aligned copy."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0 and array.flags.writeable:
        return array
    copy = aligned_zeros(array.shape, array.dtype.str)
    copy[...] = array
    return copy


def tensor(array: Array) -> Any:
    """A tensor over the array's memory, which it keeps alive."""
    return tvm_ffi.from_dlpack(aligned(array))
