"""A compiled library in this process: TVM's small runtime, the functions, the KV pool. See `local_runtime.tvm.run.library` for the
calling convention. Everything here is called from one thread; `tvm` itself is never imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from local_runtime.devices.target import CPU
from local_runtime.errors import LibraryStale
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.tvm.run.decoder import MAX_ROWS, Decoder, Floats, Rows
from local_runtime.tvm.run.library import Library, runtime_environment
from local_runtime.tvm.run.pages import Pages, PageTable
from local_runtime.tvm.run.tensors import aligned_zeros, ffi, tensor

CPU_NUMBER, NAIVE_ALLOCATOR = 1, 1


class Runtime(Decoder):
    """The functions of one library over one KV pool."""

    def __init__(
        self, library: Library, config: DecoderConfig, rope: tuple[Floats, Floats], n_pages: int, n_threads: int
    ) -> None:
        """Raises LibraryStale if the library does not load here."""
        os.environ.update(runtime_environment(n_threads))  # read at the first kernel
        self._functions = _load(library)
        self._vocab_size = config.vocab_size
        size = library.layout.page_tokens
        keys, values = pool_shapes(config, n_pages, size)
        self._keys, self._values = (aligned_zeros(shape, library.kv_dtype) for shape in (keys, values))
        self._pools = tensor(self._keys), tensor(self._values)
        self._rope = tensor(rope[0]), tensor(rope[1])
        self.pages = Pages(n_pages, size, self._copy_page)
        self._ids, self._positions = (aligned_zeros((MAX_ROWS,), "int32") for _ in range(2))
        self._inputs: dict[int, tuple[Any, Any]] = {}
        self._table = aligned_zeros((n_pages,), "int32")
        self._table_tensor = tensor(self._table)
        self._table_pages: list[int] = []
        self._strength = aligned_zeros((1,), "float32")
        self._strength_tensor = tensor(self._strength)
        self.forwards = 0

    def close(self) -> None:
        """Give back the KV pool."""
        self._functions = {}
        self._pools = (None, None)
        self._keys = self._values = np.empty(0)

    def _call(self, name: str, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Run a function; its room must be reserved. The sequence's length is not changed."""
        n = len(token_ids)
        self._ids[:n] = token_ids
        self._positions[:n] = range(table.n_tokens, table.n_tokens + n)
        inputs = self._inputs.get(n)
        if inputs is None:
            inputs = self._inputs[n] = tensor(self._ids[:n]), tensor(self._positions[:n])
        if self._table_pages != table.pages:
            self._table[: len(table.pages)] = table.pages
            self._table_pages = list(table.pages)
        self._strength[0] = strength
        self.forwards += 1
        logits, greedy, normalizer = self._functions[name](
            *inputs, self._table_tensor, *self._pools, *self._rope, self._strength_tensor, parameters
        )
        logits, greedy, normalizer = (cast(Any, np.from_dlpack(t)) for t in (logits, greedy, normalizer))
        return Rows(logits[:, : self._vocab_size], greedy, normalizer)

    def _copy_page(self, source: int, target: int) -> None:
        self._keys[:, target] = self._keys[:, source]
        self._values[:, target] = self._values[:, source]


def pool_shapes(config: DecoderConfig, n_pages: int, page_tokens: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the pools of keys and values."""
    before, dim = (config.n_layers, n_pages, config.n_kv_heads), config.head_dim
    return (*before, dim, page_tokens), (*before, page_tokens, dim)


def token_bytes(config: DecoderConfig, kv_dtype: str) -> int:
    """Memory of one token's keys and values."""
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * np.dtype(kv_dtype).itemsize


def _load(library: Library) -> dict[str, Any]:
    """The functions of a library by name."""
    if (built_for := library.target_kind) != CPU:
        raise LibraryStale(
            f"{library.path} was built for {built_for}, and is asked to run on the cpu", f"rm -r {library.path.parent}"
        )
    tvm_ffi = ffi()  # first: the runtime is linked against its library
    try:
        ctypes.CDLL(str(runtime_library()), ctypes.RTLD_GLOBAL)
        machine = tvm_ffi.load_module(str(library.path))["vm_load_executable"]()
        machine["vm_initialization"](CPU_NUMBER, 0, NAIVE_ALLOCATOR)
        return {name: machine[name] for name in library.functions}
    except (OSError, RuntimeError, AttributeError, ValueError) as problem:
        raise LibraryStale(f"{library.path} does not load: {problem}", f"rm -r {library.path.parent}") from problem


def runtime_library(device: str = "") -> Path:
    """TVM's runtime without the compiler: 3.4 MB in place of 260. With `_cuda` or `_metal`, its part for that device."""
    spec = importlib.util.find_spec("tvm")
    if spec is None or spec.origin is None:
        raise OSError("apache-tvm is not installed")
    ending = "dylib" if sys.platform == "darwin" else "so"
    return Path(spec.origin).parent / "lib" / f"libtvm_runtime{device}.{ending}"
