"""Weights and adapters as the kernels of a compiled library want them, and back. Numpy alone.

A library's `Layout` says how: see `local_runtime.tvm.build.layout` for the picture. Sources are MLC's tensors, as
`local_runtime.model.quantization` describes them: `q_weight [N, K * bits / 32] uint32` of `q + max_int`, lowest bits
first, and `q_scale [N, K / 32]`; or floats `[N, K]`. Every part of a fused linear is padded to whole blocks of outputs
with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from local_runtime.tvm.run.library import RANK_SYMBOLS, Layout, Parameter

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
ADAPTER_LIMIT = 127
ALIGNMENT = 64
MOST_RANK_BLOCKS = 4
"""Kernels have room for so many blocks of 16 ranks: `Layout.max_rank`."""


def pack_words(q_weight: npt.NDArray[np.uint32], layout: Layout, parts: Sequence[int]) -> npt.NDArray[np.int32]:
    """MLC's `q_weight [N, K * bits / 32] uint32` to `[N'/32, K/32, words, 32] int32`."""
    max_int = 2 ** (layout.bits - 1) - 1
    change = layout.offset - max_int
    if layout.bits == 8:
        words = (q_weight.view(np.uint8) + np.uint8(change % 256)).view(np.uint32)
    else:
        words = q_weight + np.uint32(change * 0x11111111)
        words = _spread(words & np.uint32(0xFFFF)) | _spread(words >> np.uint32(16)) << np.uint32(4)
    return _to_blocks(words, layout, parts).view(np.int32)


def unpack_words(words: npt.NDArray[np.int32], layout: Layout, parts: Sequence[int]) -> npt.NDArray[np.int8]:
    """The quantised values `q [N, K] int8` of packed words."""
    rows = np.ascontiguousarray(_from_blocks(words.view(np.uint32), layout, parts))
    if layout.bits == 8:
        return (rows.view(np.uint8) - np.uint8(layout.offset)).view(np.int8)
    low, high = rows & np.uint32(0x0F0F0F0F), rows >> np.uint32(4) & np.uint32(0x0F0F0F0F)
    values = np.stack([low, high], axis=-1).view(np.uint8).reshape(rows.shape[0], -1)
    return values.view(np.int8) - np.int8(layout.offset)


def pack_scales(q_scale: Array, layout: Layout, parts: Sequence[int]) -> Array:
    """MLC's `q_scale [N, K / 32]` to `[N'/32, K/32, 32]` in the layout's dtype."""
    blocks = _to_blocks(q_scale.astype(layout.float_dtype, copy=False), layout, parts, words=1)
    return blocks.reshape(blocks.shape[0], -1, layout.block)


def unpack_scales(scales: Array, layout: Layout, parts: Sequence[int]) -> Array:
    """The inverse of `pack_scales`."""
    return _from_blocks(scales[:, :, None, :], layout, parts)


def pack_float(weight: Array, layout: Layout, parts: Sequence[int]) -> Array:
    """A float weight `[N, K]` to `[N'/32, K/32, 32, 32]` in the layout's dtype."""
    return _to_blocks(weight.astype(layout.float_dtype, copy=False), layout, parts)


def unpack_float(words: Array, layout: Layout, parts: Sequence[int]) -> Array:
    """The inverse of `pack_float`."""
    return _from_blocks(words, layout, parts)


def pack_bias(bias: Array, layout: Layout, parts: Sequence[int]) -> Floats:
    """A bias `[N]` to float32 `[N']`."""
    return _pad_parts(bias.astype(np.float32)[:, None], layout.block, parts)[:, 0].copy()


def pack_adapter(
    a: Sequence[Floats | None], b: Sequence[Floats | None], layout: Layout, parts: Sequence[int]
) -> dict[str, Array]:
    """An adapter of one fused linear: for each part A `[rank, K]` and B `[N_part, rank]`, or None where it has none.

    B carries whatever the adapter is scaled with (PEFT's alpha / rank). Ranks may differ; all are padded to the next
    multiple of 16 of the largest. Returns arrays by the end of their parameters' names: `lora_a.words` and so on. At
    least one part must be there; for a linear without an adapter see `no_adapter`.
    """
    rank = max(x.shape[0] for x in a if x is not None)
    n_inputs = next(x.shape[1] for x in a if x is not None)
    padded = -(-rank // layout.rank_block) * layout.rank_block
    wide_a = np.zeros((len(parts) * padded, n_inputs), np.float32)
    all_b = np.zeros((sum(parts), padded), np.float32)
    for n, (one_a, one_b, rows) in enumerate(zip(a, b, _rows(parts), strict=True)):
        if one_a is not None and one_b is not None:
            wide_a[n * padded : n * padded + one_a.shape[0]] = one_a
            all_b[rows, : one_b.shape[1]] = one_b
    a_blocks = _adapter_side(wide_a, layout, layout.group, layout.rank_block, (len(wide_a),))
    b_blocks = _adapter_side(all_b, layout, layout.rank_block, layout.block, parts)
    n_blocks = padded // layout.rank_block
    packed = {
        f"lora_a.{name}": array.reshape(len(parts), n_blocks, *array.shape[1:]).swapaxes(0, 1).copy()
        for name, array in a_blocks.items()
    }
    return packed | {f"lora_b.{name}": array.swapaxes(0, 1).copy() for name, array in b_blocks.items()}


def address_table(parameters: Sequence[Parameter], arrays: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """What a call takes as `addresses`: where each parameter lies, in order, then the adapter's rank of each kind.

    The arrays must outlive the table. One of an adapter that is not in `arrays` has rank 0. Raises ValueError for an
    array of another shape or dtype, one that is not contiguous or not aligned to 64 bytes, and for ranks that differ.
    """
    ranks: dict[str, int] = {}
    addresses = []
    for p in parameters:
        array = arrays.get(p.name)
        if array is None and any(isinstance(size, str) for size in p.shape):
            array = no_adapter(p)
        if array is None:
            raise ValueError(f"{p.name} is missing")
        for size, symbol in zip(array.shape, p.shape, strict=False):
            if isinstance(symbol, str):
                ranks.setdefault(symbol, size)
        shape = tuple(ranks[size] if isinstance(size, str) else size for size in p.shape)
        address = array.ctypes.data if array.size else 0
        if array.shape != shape or array.dtype != p.dtype or not array.flags.c_contiguous or address % ALIGNMENT:
            raise ValueError(
                f"{p.name} is {array.dtype}{list(array.shape)} at {address:#x}, not {p.dtype}{list(shape)}"
            )
        addresses.append(address)
    if max(ranks.values()) > MOST_RANK_BLOCKS:
        raise ValueError(f"ranks {ranks} in blocks: at most {MOST_RANK_BLOCKS}")
    return np.array([*addresses, *(ranks[symbol] for symbol in RANK_SYMBOLS)], np.int64)


def no_adapter(parameter: Parameter) -> Array:
    """One of the four tensors of a linear without an adapter: rank 0, no bytes."""
    return np.zeros([size if isinstance(size, int) else 0 for size in parameter.shape], parameter.dtype)


def _adapter_side(matrix: Floats, layout: Layout, group: int, block: int, parts: Sequence[int]) -> dict[str, Array]:
    """`[N, K]` float to words, and scales where the library computes with integers."""
    if layout.adapter_bits != 8:
        return {"words": _blocks(matrix.astype(layout.float_dtype), group, block, parts)}
    groups = matrix.reshape(len(matrix), -1, group)
    scales = np.abs(groups).max(axis=-1) / np.float32(ADAPTER_LIMIT)
    values = np.rint(groups / np.where(scales == 0, np.float32(1), scales)[..., None]).astype(np.int8)
    stored = values.view(np.uint8).reshape(len(matrix), -1) + np.uint8(layout.adapter_offset)
    return {
        "words": _blocks(stored.view(np.uint32), group // 4, block, parts).view(np.int32),
        "scales": _blocks(scales, 1, block, parts)[:, :, 0],
    }


def _to_blocks(rows: Array, layout: Layout, parts: Sequence[int], words: int | None = None) -> Array:
    """`[N, G * words]` to `[N'/32, G, words, 32]`; the number of words follows from the layout unless given."""
    if words is None:
        words = layout.group * layout.bits // 32 if layout.bits < 16 else layout.group
    return _blocks(rows, words, layout.block, parts)


def _blocks(rows: Array, words: int, block: int, parts: Sequence[int]) -> Array:
    padded = _pad_parts(rows, block, parts)
    blocks = padded.reshape(len(padded) // block, block, -1, words).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(blocks)


def _from_blocks(blocks: Array, layout: Layout, parts: Sequence[int]) -> npt.NDArray[Any]:
    rows = blocks.transpose(0, 3, 1, 2).reshape(len(blocks) * layout.block, -1)
    starts = np.cumsum([0, *(-(-part // layout.block) * layout.block for part in parts)])
    return np.concatenate([rows[start : start + part] for start, part in zip(starts, parts, strict=False)])


def _pad_parts(rows: Array, block: int, parts: Sequence[int]) -> npt.NDArray[Any]:
    """Rows of zeros behind each part, up to whole blocks."""
    if len(rows) != sum(parts):
        raise ValueError(f"{len(rows)} rows, but the parts {tuple(parts)} have {sum(parts)}")
    if all(part % block == 0 for part in parts):
        return rows
    pieces = [np.pad(rows[part], ((0, -(part.stop - part.start) % block), (0, 0))) for part in _rows(parts)]
    return np.concatenate(pieces)


def _rows(parts: Sequence[int]) -> list[slice]:
    ends = np.cumsum(parts).tolist()
    return [slice(end - part, end) for end, part in zip(ends, parts, strict=True)]


def _spread(nibbles: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Four nibbles of the low half of a word, one into each byte."""
    pairs = (nibbles | nibbles << np.uint32(8)) & np.uint32(0x00FF00FF)
    return (pairs | pairs << np.uint32(4)) & np.uint32(0x0F0F0F0F)
