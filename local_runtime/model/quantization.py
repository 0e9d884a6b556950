"""Quantisations by name, and their rule. MLC's rules and names; `q8f16_g32` is ours alone.

Group quantisation (MLC's `GroupQuantize`, layout NK): each row of a weight `[N, K]` is cut in groups of 32; the scale of a
group is `max|w| / max_int`, and `round(w / scale + max_int)`, clipped to `[0, 2 * max_int]`, is stored, `32 / bits` values
a uint32, lowest bits first: `q_weight [N, K * bits / 32] uint32` and `q_scale [N, K / 32]`. Ties round to even. MLC does all
this in the dtype of the scales, and so do we: the same floats give the same bits. With 8 bits half precision is too coarse
(the numbers reach 254), so there it is done in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GROUP_SIZE = 32

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Quantization:
    """How weights are stored and computed with."""

    name: str
    bits: int
    """4 or 8: integers in groups; 16 or 32: floats."""
    float_dtype: str
    """dtype of scales and of all tensors that are not quantised: `float16` or `float32`."""
    mlc_can_serve: bool = True

    @property
    def grouped(self) -> bool:
        """Whether weights are integers with a scale per group."""
        return self.bits < 16

    @property
    def max_int(self) -> int:
        """Largest magnitude of a quantised value: 7 for 4 bits, 127 for 8."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def per_word(self) -> int:
        """Quantised values in one uint32."""
        return 32 // self.bits


QUANTIZATIONS: dict[str, Quantization] = {
    q.name: q
    for q in (
        Quantization("q0f16", 16, "float16"),
        Quantization("q0f32", 32, "float32"),
        Quantization("q4f16_1", 4, "float16"),
        Quantization("q4f32_1", 4, "float32"),
        Quantization("q8f16_g32", 8, "float16", mlc_can_serve=False),
    )
}
DEFAULT_QUANTIZATION = "q8f16_g32"


def quantize(weight: Array, quantization: Quantization) -> tuple[Array, Array]:
    """`q_weight [N, K * bits / 32]` uint32 and `q_scale [N, K / 32]` of a float weight `[N, K]`; 32 divides K.

    Raises ValueError if a weight is not finite, or not in the dtype of the scales.
    """
    n, k = weight.shape
    arithmetic = np.dtype(quantization.float_dtype if quantization.bits == 4 else np.float32)
    max_int = arithmetic.type(quantization.max_int)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        groups = weight.astype(quantization.float_dtype).astype(arithmetic).reshape(n, k // GROUP_SIZE, GROUP_SIZE)
        scale = (np.abs(groups).max(axis=-1) / max_int).astype(quantization.float_dtype)
        if not np.isfinite(scale).all():
            raise ValueError(f"a weight is not finite in {quantization.float_dtype}")
        values = groups / scale[..., None].astype(arithmetic)
        values += max_int
    values[scale == 0] = max_int
    integers = np.clip(np.rint(values, out=values), 0, 2 * max_int).astype(np.uint8)
    if quantization.bits == 4:
        integers = integers[..., 0::2] | integers[..., 1::2] << 4
    # Four bytes a word, lowest first, on every machine.
    return integers.reshape(n, -1).view("<u4").astype(np.uint32, copy=False), scale


def dequantize(q_weight: Array, q_scale: Array, quantization: Quantization) -> Floats:
    """The float32 weight `[N, K]` that `q_weight` and `q_scale` stand for."""
    n = q_weight.shape[0]
    shifts = np.arange(quantization.per_word, dtype=np.uint32) * np.uint32(quantization.bits)
    integers = q_weight[..., None] >> shifts & np.uint32(2**quantization.bits - 1)
    values: Floats = integers.reshape(n, -1, GROUP_SIZE).astype(np.float32)
    values -= quantization.max_int
    values *= q_scale[..., None].astype(np.float32)
    return values.reshape(n, -1)
