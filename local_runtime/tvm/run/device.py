"""A device of TVM's small runtime: its libraries loaded, arrays copied there and back. Imports no tvm."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from local_runtime.devices.cuda_parts import load_cuda
from local_runtime.devices.target import CUDA, HOST, METAL
from local_runtime.errors import LibraryStale
from local_runtime.tvm.run.library import Library, runtime_environment
from local_runtime.tvm.run.runtime import runtime_library
from local_runtime.tvm.run.tensors import Array, ffi

DLPACK_TYPES = {HOST: 1, CUDA: 2, METAL: 8}
"""DLPack's numbers of devices (dlpack.h)."""
POOLED_ALLOCATOR, CPU = 2, 1
AVAILABLE_MEMORY = 15
"""TVM's `DeviceAttrKind::kAvailableGlobalMemory`."""


@dataclass(frozen=True, slots=True)
class Device:
    """The first device of a kind."""

    kind: str

    @property
    def number(self) -> int:
        """DLPack's."""
        return DLPACK_TYPES[self.kind]

    def load(self, library: Library) -> Any:
        """TVM's virtual machine with the library's functions. Raises LibraryStale."""
        if (built_for := library.target_kind) != self.kind:
            raise LibraryStale(
                f"{library.path} was built for {built_for}, and is asked to run on {self.kind}",
                f"rm -r {library.path.parent}",
            )
        if self.kind == HOST:
            os.environ.update(runtime_environment(1))  # its kernels are slow whatever they are given
        tvm_ffi = ffi()  # first: the runtime is linked against its library
        try:
            ctypes.CDLL(str(runtime_library()), ctypes.RTLD_GLOBAL)
            if self.kind == CUDA:
                load_cuda()
            if self.kind != HOST:
                ctypes.CDLL(str(runtime_library(f"_{self.kind}")), ctypes.RTLD_GLOBAL)
            machine = tvm_ffi.load_module(str(library.path))["vm_load_executable"]()
            machine["vm_initialization"](self.number, 0, POOLED_ALLOCATOR, CPU, 0, POOLED_ALLOCATOR)
        except (OSError, RuntimeError, AttributeError, ValueError) as problem:
            raise LibraryStale(f"{library.path} does not load: {problem}", f"rm -r {library.path.parent}") from problem
        return machine

    def upload(self, array: Array) -> Any:
        """A tensor on the device with the array's values."""
        array = np.ascontiguousarray(array)
        tvm_ffi = ffi()
        allocate, copy = (
            tvm_ffi.get_global_func(f"runtime.TVMTensor{name}") for name in ("AllocWithScope", "CopyFromBytes")
        )
        device = tvm_ffi.Device(self.number, 0)
        made = allocate(tvm_ffi.Shape(array.shape), tvm_ffi.dtype(str(array.dtype)), device, None)
        if array.size:
            copy(made, array.ctypes.data_as(ctypes.c_void_p), array.nbytes)
        return made

    def download(self, tensor: Any) -> Array:
        """The values of a tensor, once all that computes it is done."""
        array = np.empty(tuple(int(n) for n in tensor.shape), str(tensor.dtype))
        copy = ffi().get_global_func("runtime.TVMTensorCopyToBytes")
        copy(tensor, array.ctypes.data_as(ctypes.c_void_p), array.nbytes)
        return array

    def free_bytes(self) -> int | None:
        """Memory that nobody uses, where the device tells."""
        found = ffi().get_global_func("runtime.GetDeviceAttr")(self.number, 0, AVAILABLE_MEMORY)
        return None if found is None else int(found)
