"""A library for a GPU in this process: TVM's small runtime, the functions, TVM's paged KV cache. Imports no tvm.

The calling convention is in `local_runtime.tvm.build.gpu_decoder`. Everything here is called from one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from local_runtime.tvm.run.cached_sequences import CachedSequences, cached
from local_runtime.tvm.run.decoder import MAX_ROWS, Decoder, Floats, Rows
from local_runtime.tvm.run.device import Device
from local_runtime.tvm.run.library import Library
from local_runtime.tvm.run.pages import PageTable
from local_runtime.tvm.run.sequences import MAX_SEQUENCES
from local_runtime.tvm.run.tensors import ffi

SPARE_SEQUENCES = 32
"""Of requests in progress, beside those that are kept."""


class GpuRuntime(Decoder):
    """The functions of one library over one KV cache."""

    def __init__(
        self, machine: Any, library: Library, device: Device, rope: tuple[Floats, Floats], n_pages: int
    ) -> None:
        """`machine` is what `device.load(library)` gave."""
        self._functions = {name: machine[name] for name in library.functions}
        self._device = device
        self._rope = device.upload(rope[0]), device.upload(rope[1])
        self._strengths: dict[float, Any] = {}
        size = library.layout.page_tokens
        sizes = (MAX_SEQUENCES + SPARE_SEQUENCES, n_pages * size, MAX_ROWS, size, 0)
        cache = self._functions["create_cache"](*(ffi().Shape((n,)) for n in sizes))
        self.pages: CachedSequences = CachedSequences(cache, size)
        self.forwards = 0

    def close(self) -> None:
        """Give back the KV cache."""
        self._functions = {}
        self.pages.cache = None

    def _call(self, name: str, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Run a function. The tokens are in the cache afterwards; what the table says of its length is not changed."""
        sequence, n = cached(table), len(token_ids)
        ids = self._device.upload(np.array(token_ids, np.int32))
        positions = self._device.upload(np.arange(sequence.n_tokens, sequence.n_tokens + n, dtype=np.int32))
        tensors, adapted = parameters
        function = self._functions[f"{name}_adapted" if adapted and strength else name]
        shape = ffi().Shape
        self.pages.call("begin_forward", shape((sequence.number,)), shape((n,)))
        found = function(ids, positions, *self._rope, self._strength(strength), self.pages.cache, tensors)
        self.pages.call("end_forward")
        sequence.n_cached += n
        self.forwards += 1
        logits, greedy, normalizer = (self._device.download(tensor)[0] for tensor in found)
        return Rows(logits, greedy, normalizer)

    def _strength(self, strength: float) -> Any:
        found = self._strengths.get(strength)
        if found is None:
            if len(self._strengths) > MAX_SEQUENCES:
                self._strengths.clear()
            found = self._strengths[strength] = self._device.upload(np.array([strength], np.float32))
        return found
