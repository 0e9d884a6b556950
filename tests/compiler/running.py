"""Calls a compiled library the way its docstring says, with nothing around it."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import reference
import tvm_ffi

from local_runtime.model.quantization import GROUP_SIZE, Quantization
from local_runtime.tvm.run import packing
from local_runtime.tvm.run.library import Library, Parameter

Compile = Callable[..., Library]
"""A fixture: config, quantisation and instruction set to a library."""


@cache
def load_runtime() -> ctypes.CDLL:
    """TVM's small runtime."""
    origin = importlib.util.find_spec("tvm").origin
    return ctypes.CDLL(str(Path(origin).parent / "lib" / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)


def aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy at an address that is a multiple of 64."""
    buffer = np.zeros(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def tensor(array: npt.NDArray[Any]) -> Any:
    """A tensor that shares memory with an aligned copy."""
    return tvm_ffi.from_dlpack(aligned(np.ascontiguousarray(array)))


def quantize(
    weight: reference.Floats, quantization: Quantization
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[Any], reference.Floats]:
    """MLC's `q_weight`, `q_scale`, and the float weight they stand for."""
    limit, bits = quantization.max_int, quantization.bits
    groups = weight.reshape(len(weight), -1, GROUP_SIZE)
    scale = (np.abs(groups).max(-1) / limit).astype(quantization.float_dtype)
    wide = scale.astype(np.float32)[..., None]
    stored = np.clip(np.rint(groups / np.maximum(wide, 1e-12)) + limit, 0, 2 * limit).astype(np.uint32)
    per_word = 32 // bits
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    q_weight = (stored.reshape(len(weight), -1, per_word) << shifts).sum(-1, dtype=np.uint32)
    return q_weight, scale, ((stored.astype(np.float32) - limit) * wide).reshape(weight.shape)


class Model:
    """Weights in a library, one sequence of pages in order."""

    def __init__(
        self, library: Library, weights: reference.Weights, quantization: Quantization, n_pages: int = 16
    ) -> None:
        load_runtime()
        self.library, self.c = library, weights.config
        self.vm = tvm_ffi.load_module(str(library.path))["vm_load_executable"]()
        self.vm["vm_initialization"](1, 0, 1)
        self.functions = {name: self.vm[name] for name in library.functions}
        self.served = reference.Weights(weights.config, dict(weights.tensors), weights.adapter, weights.strength)
        """What the library computes with: the de-quantised weights."""
        pool = (self.c.n_layers, n_pages, self.c.n_kv_heads)
        page = library.layout.page_tokens
        self.keys = tensor(np.zeros((*pool, self.c.head_dim, page), library.kv_dtype))
        self.values = tensor(np.zeros((*pool, page, self.c.head_dim), library.kv_dtype))
        self.table = tensor(np.arange(n_pages, dtype=np.int32))
        self.tables = [tensor(table) for table in reference.rope_tables(self.c, n_pages * page)]
        self.packed = {
            p.name: aligned(self._pack(p, weights.tensors, quantization))
            for p in library.parameters
            if "lora" not in p.name
        }
        self.use(weights.adapter, weights.strength)

    def use(self, adapter: reference.Adapter, strength: float) -> None:
        """Swap the adapter."""
        self.served.adapter, self.served.strength = adapter, strength
        self.strength = tensor(np.array([strength], np.float32))
        arrays = dict(self.packed)
        for name, (a, b) in adapter.items():
            parts = next(p.parts for p in self.library.parameters if p.name.startswith(f"{name}."))
            for end, array in packing.pack_adapter(a, b, self.library.layout, parts).items():
                arrays[f"{name}.{end}"] = aligned(array)
        self.arrays = arrays
        self.addresses = tensor(packing.address_table(self.library.parameters, arrays))

    def _pack(self, p: Parameter, tensors: dict[str, reference.Floats], quantization: Quantization) -> npt.NDArray[Any]:
        layout = self.library.layout
        name = p.name.removesuffix(".packed")
        if name == p.name:
            return tensors[name].astype(np.float32)
        if name.endswith(".bias"):
            return packing.pack_bias(tensors[name], layout, p.parts)
        weight = f"{name.rpartition('.')[0]}.weight"
        if not quantization.grouped:
            self.served.tensors[weight] = tensors[weight].astype(layout.float_dtype).astype(np.float32)
            return packing.pack_float(tensors[weight], layout, p.parts)
        q_weight, q_scale, self.served.tensors[weight] = quantize(tensors[weight], quantization)
        if name.endswith(".q_scale"):
            return packing.pack_scales(q_scale, layout, p.parts)
        return packing.pack_words(q_weight, layout, p.parts)

    def call(self, function: str, ids: npt.NDArray[np.int32], start: int) -> list[npt.NDArray[Any]]:
        """logits (without padding), greedy and normalizer of tokens at `start`."""
        positions = np.arange(start, start + len(ids), dtype=np.int32)
        results = self.functions[function](
            tensor(np.asarray(ids, np.int32)), tensor(positions), self.table, self.keys, self.values, *self.tables,
            self.strength, self.addresses,
        )  # fmt: skip
        logits, greedy, normalizer = (np.from_dlpack(result).copy() for result in results)
        return [logits[:, : self.c.vocab_size], greedy, normalizer]
