"""Adapters ready for the kernels: packed once, kept up to a number of bytes, so that choosing another one is choosing a list."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from local_runtime.adapters.peft_folder import Floats, LowRanks, check_fits, read_low_ranks
from local_runtime.engines.protocol import Adapter
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import Fused, fused_tensors
from local_runtime.tvm.run.library import Library
from local_runtime.tvm.run.packing import address_table, pack_adapter
from local_runtime.tvm.run.tensors import Array, aligned, tensor

DEFAULT_LIMIT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Bound:
    """All parameters of the library, the model's and one adapter's, as a call takes them."""

    parameters: Any
    """The table of their addresses; for a GPU the list of the tensors themselves."""
    arrays: dict[str, Array]
    """What the table points to: it lives as long."""
    size_bytes: int
    """Of the adapter's part."""


class Binding(Protocol):
    """Puts an adapter beside the weights, as one library wants them."""

    def bind(self, low_ranks: LowRanks) -> Bound:
        """The parameters of calls with an adapter; with an empty one, those of the base."""
        ...


class Adapters:
    """The base and its adapters, as lists of parameters. Those used longest ago make room for others."""

    def __init__(self, config: DecoderConfig, binding: Binding, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._config = config
        self._binding = binding
        self._limit_bytes = limit_bytes
        self._resident: OrderedDict[str, Bound] = OrderedDict()
        self._nobody = binding.bind({})

    @property
    def size_bytes(self) -> int:
        """Memory of all resident adapters."""
        return sum(bound.size_bytes for bound in self._resident.values())

    def is_resident(self, adapter: Adapter | None) -> bool:
        """Whether `bind` is a matter of microseconds."""
        return adapter is None or adapter.id in self._resident

    def bind(self, adapter: Adapter | None) -> Bound:
        """The parameters of a call with `adapter`. Raises AdapterInvalid if it does not fit the model."""
        if adapter is None:
            return self._nobody
        bound = self._resident.get(adapter.id)
        if bound is None:
            low_ranks = read_low_ranks(adapter)
            check_fits(adapter, low_ranks, self._config)
            bound = self._binding.bind(low_ranks)
            while self._resident and self.size_bytes + bound.size_bytes > self._limit_bytes:
                self._resident.popitem(last=False)
            self._resident[adapter.id] = bound
        self._resident.move_to_end(adapter.id)
        return bound


class TableBinding:
    """Weights and adapters in this process's memory: a call takes the table of their addresses."""

    def __init__(self, library: Library, config: DecoderConfig, weights: dict[str, Array]) -> None:
        self._library = library
        self._config = config
        self._base = {name: aligned(array) for name, array in weights.items()}

    def bind(self, low_ranks: LowRanks) -> Bound:
        """Pack an adapter, and list where everything lies."""
        packed = pack_low_ranks(low_ranks, self._library, self._config) if low_ranks else {}
        arrays = self._base | {name: aligned(array) for name, array in packed.items()}
        table = tensor(address_table(self._library.parameters, arrays))
        return Bound(table, arrays, sum(array.nbytes for array in packed.values()))


def pack_low_ranks(low_ranks: LowRanks, library: Library, config: DecoderConfig) -> dict[str, Array]:
    """The library's adapter parameters by name; those of a kind of linear without any adapter are left out.

    All layers have one rank per kind of linear (a symbol of the library), so a layer without gets zeros.
    """
    linears = _linears(library)
    ranks: dict[str, int] = {}
    for fused in fused_tensors(config):
        if fused.name in linears:
            symbol = linears[fused.name][0]
            found = [low_ranks[module].a.shape[0] for module in _modules(fused) if module in low_ranks]
            ranks[symbol] = max([ranks.get(symbol, 0), *found])
    packed: dict[str, Array] = {}
    for fused in fused_tensors(config):
        if fused.name in linears and ranks[linears[fused.name][0]]:
            symbol, parts = linears[fused.name]
            stem = fused.name.removesuffix("weight")
            sides = _sides(fused, low_ranks, ranks[symbol])
            packed |= {stem + end: array for end, array in pack_adapter(*sides, library.layout, parts).items()}
    return packed


def _sides(fused: Fused, low_ranks: LowRanks, rank: int) -> tuple[list[Floats | None], list[Floats | None]]:
    """A and B of each part of a fused linear, widened to `rank`; zeros for the first part if there is none at all."""
    a: list[Floats | None] = []
    b: list[Floats | None] = []
    for module in _modules(fused):
        found = low_ranks.get(module)
        a.append(None if found is None else np.pad(found.a, ((0, rank - len(found.a)), (0, 0))))
        b.append(None if found is None else np.pad(found.b, ((0, 0), (0, rank - found.b.shape[1]))))
    if all(x is None for x in a):
        first = fused.parts[0]
        a[0], b[0] = (
            np.zeros((rank, fused.shape[1]), np.float32),
            np.zeros((first.stop - first.start, rank), np.float32),
        )
    return a, b


def _linears(library: Library) -> dict[str, tuple[str, tuple[int, ...]]]:
    """MLC's weight names of the linears that take an adapter: the symbol of their rank, and their parts."""
    return {
        p.name.replace("lora_a.words", "weight"): (next(str(n) for n in p.shape if isinstance(n, str)), p.parts)
        for p in library.parameters
        if p.name.endswith(".lora_a.words")
    }


def _modules(fused: Fused) -> list[str]:
    """Hugging Face's names of the linears that a fused one is made of."""
    return [part.name.removesuffix(".weight") for part in fused.parts]
