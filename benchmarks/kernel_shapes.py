"""Shapes and random quantised weights that the kernel benchmarks share."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tvm_ffi

from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import Fused, fused_tensors
from local_runtime.model.quantization import GROUP_SIZE, QUANTIZATIONS, Quantization
from local_runtime.tvm.run import packing
from local_runtime.tvm.run.library import Library

SHAPES = {
    "46M": DecoderConfig("llama", 512, 1536, 12, 8, 4, 64, 16384, 4096, rope_theta=1e4, tied_embeddings=True),
    "0.5B": DecoderConfig(
        "qwen2", 896, 4864, 24, 14, 2, 64, 151936, 4096, rope_theta=1e6, tied_embeddings=True, qkv_bias=True
    ),
}
QUANTIZATION = {8: QUANTIZATIONS["q8f16_g32"], 4: QUANTIZATIONS["q4f16_1"]}
ADAPTER_RANK = 16

Array = np.ndarray[Any, np.dtype[Any]]


def weights(config: DecoderConfig, quantization: Quantization) -> Iterator[tuple[Fused, Array, Array | None]]:
    """Each tensor with its values: integers `q [N, K] int8` and scales `[N, K/32] float16`, or floats and None."""
    rng = np.random.default_rng(0)
    for tensor in fused_tensors(config):
        if tensor.quantized:
            limit = quantization.max_int
            q = rng.integers(-limit, limit + 1, size=tensor.shape, dtype=np.int8)
            size = 1.7 / (limit * tensor.shape[1] ** 0.5) * (0.3 if "embed" in tensor.name else 1)
            groups = (tensor.shape[0], tensor.shape[1] // GROUP_SIZE)
            yield tensor, q, (size * rng.uniform(0.5, 1.5, groups)).astype(np.float16)
        else:
            noise = rng.standard_normal(tensor.shape).astype(np.float32) * np.float32(0.1)
            yield tensor, noise + np.float32(tensor.name.endswith("norm.weight")), None


def mlc_words(q: Array, quantization: Quantization) -> Array:
    """MLC's `q_weight` of integers `[N, K]`."""
    stored = (q.astype(np.int16) + quantization.max_int).astype(np.uint8)
    if quantization.bits == 4:
        stored = stored[:, 0::2] | stored[:, 1::2] << 4
    return stored.view(np.uint32)


class Runner:
    """A compiled library over random weights: prefill and decode of one sequence, nothing around them."""

    def __init__(
        self, library: Library, config: DecoderConfig, quantization: Quantization, n_tokens: int = 1024
    ) -> None:
        root = Path(importlib.util.find_spec("tvm").origin).parent / "lib"  # type: ignore[union-attr, arg-type]
        suffix = "dylib" if sys.platform == "darwin" else "so"
        ctypes.CDLL(str(root / f"libtvm_runtime.{suffix}"), ctypes.RTLD_GLOBAL)
        self.vm = tvm_ffi.load_module(str(library.path))["vm_load_executable"]()
        self.vm["vm_initialization"](1, 0, 1)
        self.functions = {name: self.vm[name] for name in library.functions}
        self.library, self.config = library, config
        layout, page = library.layout, library.layout.page_tokens
        by_name = {p.name.removesuffix(".packed"): p for p in library.parameters}
        arrays: dict[str, Array] = {}
        for tensor, values, scales in weights(config, quantization):
            stem = tensor.name.removesuffix(".weight")
            if scales is not None:
                parts = by_name[f"{stem}.q_weight"].parts
                words = mlc_words(values, quantization)
                arrays[f"{stem}.q_weight.packed"] = packing.pack_words(words, layout, parts)
                arrays[f"{stem}.q_scale.packed"] = packing.pack_scales(scales, layout, parts)
            elif tensor.name.endswith(".bias"):
                parts = by_name[tensor.name].parts
                arrays[f"{tensor.name}.packed"] = packing.pack_bias(values, layout, parts)
            else:
                arrays[tensor.name] = values
        self.base = {name: aligned(np.ascontiguousarray(array)) for name, array in arrays.items()}
        n_pages = n_tokens // page
        pool = (config.n_layers, n_pages, config.n_kv_heads)
        self.keys = shared(np.zeros((*pool, config.head_dim, page), library.kv_dtype))
        self.values = shared(np.zeros((*pool, page, config.head_dim), library.kv_dtype))
        self.table = shared(np.arange(n_pages, dtype=np.int32))
        frequencies = config.rope_theta ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
        angles = np.outer(np.arange(n_tokens), frequencies)
        self.rope = shared(np.cos(angles).astype(np.float32)), shared(np.sin(angles).astype(np.float32))
        self.strength_array = aligned(np.zeros(1, np.float32))
        self.strength = tvm_ffi.from_dlpack(self.strength_array)
        self.use_adapter(0)

    def use_adapter(self, rank: int, strength: float = 1.0) -> None:
        """A random adapter on every linear; rank 0 for none."""
        rng = np.random.default_rng(1)
        self.arrays = dict(self.base)
        if rank:
            for tensor in fused_tensors(self.config):
                if not tensor.takes_adapter:
                    continue
                sizes = [part.stop - part.start for part in tensor.parts]
                a = [rng.standard_normal((rank, tensor.shape[1])).astype(np.float32) * 0.01 for _ in sizes]
                b = [rng.standard_normal((size, rank)).astype(np.float32) * 0.01 for size in sizes]
                for end, array in packing.pack_adapter(a, b, self.library.layout, sizes).items():
                    self.arrays[f"{tensor.name.removesuffix('.weight')}.{end}"] = aligned(array)
        self.strength_array[0] = strength if rank else 0.0
        self.addresses = shared(packing.address_table(self.library.parameters, self.arrays))

    def call(self, function: str, ids: Array, start: int) -> Any:
        """One forward; returns the library's three results."""
        positions = np.arange(start, start + len(ids), dtype=np.int32)
        return self.functions[function](
            shared(ids.astype(np.int32)), shared(positions), self.table, self.keys, self.values, *self.rope,
            self.strength, self.addresses,
        )  # fmt: skip


def aligned(array: Array) -> Array:
    """A copy at a multiple of 64 bytes."""
    buffer = np.zeros(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def shared(array: Array) -> Any:
    """A tensor over an aligned copy."""
    return tvm_ffi.from_dlpack(aligned(np.ascontiguousarray(array)))
