"""Weights and adapters on a GPU: copied there once, then passed to every call as a list of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from local_runtime.adapters.peft_folder import LowRanks
from local_runtime.model.layout import Fused, fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.tvm.run.adapters import Bound
from local_runtime.tvm.run.device import Device
from local_runtime.tvm.run.library import Library, Parameter
from local_runtime.tvm.run.tensors import Array, ffi

A, B = ".lora_a", ".lora_b"


class DeviceBinding:
    """MLC's tensors as they are, and A and B of each linear padded to the library's rank."""

    def __init__(self, library: Library, device: Device, model: ModelFolder) -> None:
        self._parameters = library.parameters
        self._rank = library.layout.max_rank
        self._device = device
        self._linears = {f.name.removesuffix(".weight"): f for f in fused_tensors(model.config)}
        self._base: dict[str, Any] = {}
        empty: dict[tuple[Any, ...], Any] = {}
        for p in library.parameters:
            if p.name.endswith((A, B)):  # the base's own functions never read them: one for all of a shape
                if p.shape not in empty:
                    empty[p.shape] = device.upload(np.zeros([int(n) for n in p.shape], p.dtype))
                self._base[p.name] = empty[p.shape]
            else:
                self._base[p.name] = device.upload(model.tensor(p.name).astype(p.dtype, copy=False))

    def bind(self, low_ranks: LowRanks) -> Bound:
        """The list of tensors, and whether an adapter is among them."""
        own: dict[str, Any] = {}
        size_bytes = 0
        for p in self._parameters if low_ranks else ():
            if p.name.endswith((A, B)):
                array = adapter_side(self._linears[p.name[: -len(A)]], p, low_ranks, self._rank)
                own[p.name], size_bytes = self._device.upload(array), size_bytes + array.nbytes
        tensors = self._base | own
        listed = ffi().Array([tensors[p.name] for p in self._parameters])
        return Bound((listed, bool(low_ranks)), {}, size_bytes)


def device_bytes(library: Library) -> int:
    """Size of all weights, and of the tensors that stand for no adapter."""
    shapes = {p.name if not p.name.endswith((A, B)) else str(p.shape): p for p in library.parameters}
    return sum(int(np.prod([int(n) for n in p.shape])) * np.dtype(p.dtype).itemsize for p in shapes.values())


def adapter_side(fused: Fused, parameter: Parameter, low_ranks: LowRanks, rank: int) -> Array:
    """A of all parts below each other, or B of all parts along the diagonal; zeros where a part has no adapter."""
    array = np.zeros([int(n) for n in parameter.shape], parameter.dtype)
    for n, part in enumerate(fused.parts):
        found = low_ranks.get(part.name.removesuffix(".weight"))
        if found is not None and parameter.name.endswith(A):
            array[n * rank : n * rank + len(found.a)] = found.a
        elif found is not None:
            array[part.start : part.stop, n * rank : n * rank + found.b.shape[1]] = found.b
    return array
