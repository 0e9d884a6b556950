"""Blocks of quantised weights. Some are integers with a half-precision scale in groups of 32, as ours are: nothing is lost then.

Layouts: ggml's `ggml-common.h`; the `gguf` package's `quants.py` de-quantises all kinds that are not taken apart here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gguf.quants
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from local_runtime.model.quantization import GROUP_SIZE, Quantization

Array = np.ndarray[Any, np.dtype[Any]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
FLOATS: dict[GGMLQuantizationType, np.dtype[Any]] = {
    GGMLQuantizationType.F32: np.dtype("<f4"),
    GGMLQuantizationType.F16: np.dtype("<f2"),
}
_IQ4_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)


@dataclass(frozen=True, slots=True)
class Grouped:
    """Weights `[N, K]` as integers with a scale for each group of 32 of a row."""

    values: np.ndarray[Any, np.dtype[np.int8]]
    """`[N, K]`."""
    scales: np.ndarray[Any, np.dtype[np.float16]]
    """`[N, K / 32]`."""

    def floats(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What they stand for, as float32 `[N, K]`."""
        n = len(self.values)
        groups = self.values.reshape(n, -1, GROUP_SIZE).astype(np.float32)
        groups *= self.scales[..., None].astype(np.float32)
        return groups.reshape(n, -1)

    def stored(self, quantization: Quantization) -> tuple[Array, Array] | None:
        """`q_weight` and `q_scale` that stand for exactly the same weights; None if there are no such.

        Four bits hold -7 to 8: where a group reaches from -8 to 7, its scale's sign is turned. Eight bits hold -127 to 127:
        -128, which llama.cpp never writes, is rounded.
        """
        if quantization.float_dtype != "float16":
            return None
        n, max_int = len(self.values), quantization.max_int
        groups, scales = self.values.reshape(n, -1, GROUP_SIZE), self.scales
        lowest, largest = groups.min(axis=-1), max_int
        if quantization.bits == 4:
            turned = lowest < -max_int
            groups = np.where(turned[..., None], -groups.astype(np.int16), groups)
            scales = np.where(turned, -scales, scales)
            largest += 1
        elif (too_low := lowest < -max_int).any():
            groups, scales = groups.copy(), scales.copy()
            groups[too_low] = np.rint(groups[too_low] * (127 / 128)).astype(np.int8)
            scales[too_low] = scales[too_low].astype(np.float32) * np.float32(128 / 127)
        if groups.min(initial=0) < -max_int or groups.max(initial=0) > largest:
            return None
        codes = (groups.astype(np.int16) + max_int).astype(np.uint8).reshape(n, -1)
        if quantization.bits == 4:
            codes = codes[:, 0::2] | codes[:, 1::2] << np.uint8(4)
        return np.ascontiguousarray(codes).view("<u4").astype(np.uint32, copy=False), scales


def is_readable(kind: GGMLQuantizationType) -> bool:
    """Whether weights of this kind can be read: the `gguf` package names kinds that it cannot de-quantise."""
    try:
        read_rows(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def bits_per_weight(kind: GGMLQuantizationType) -> float:
    """Of storage, scales included."""
    block, n_bytes = GGML_QUANT_SIZES[kind]
    return 8 * n_bytes / block


def read_rows(raw: Bytes, kind: GGMLQuantizationType) -> Array | Grouped:
    """Rows as stored, `[N, row_bytes]` uint8: as Grouped where they are that, else as float32 or float16 `[N, K]`."""
    if kind in FLOATS:
        return np.ascontiguousarray(raw).view(FLOATS[kind])
    if kind not in _GROUPED:
        with np.errstate(all="ignore"):
            return gguf.quants.dequantize(raw, kind)
    blocks = raw.reshape(len(raw), -1, GGML_QUANT_SIZES[kind][1])
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2")[..., 0]
    values = _GROUPED[kind](blocks[..., 2:])
    return Grouped(values.astype(np.int8, copy=False).reshape(len(raw), -1), scales.astype(np.float16, copy=False))


def _nibbles(packed: Bytes) -> Bytes:
    """16 bytes to 32 numbers: the low halves, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _q4_0(body: Bytes) -> Array:
    return _nibbles(body).view(np.int8) - np.int8(8)


def _q5_0(body: Bytes) -> Array:
    high = np.unpackbits(np.ascontiguousarray(body[..., :4]), axis=-1, bitorder="little")
    return (_nibbles(body[..., 4:]) | high << 4).view(np.int8) - np.int8(16)


def _q8_0(body: Bytes) -> Array:
    return np.ascontiguousarray(body).view(np.int8)


def _iq4_nl(body: Bytes) -> Array:
    return _IQ4_LEVELS[_nibbles(body)]


_GROUPED = {
    GGMLQuantizationType.Q4_0: _q4_0,
    GGMLQuantizationType.Q5_0: _q5_0,
    GGMLQuantizationType.Q8_0: _q8_0,
    GGMLQuantizationType.IQ4_NL: _iq4_nl,
}
