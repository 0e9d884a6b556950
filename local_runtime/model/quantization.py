"""Quantisations by name. MLC's rules and names; `q8f16_g32` is ours alone.

Group quantisation (MLC's `GroupQuantize`, layout NK): each row of a weight `[N, K]` is cut in groups of 32; the scale of a
group is `max|w| / max_int`, and `round(w / scale) + max_int`, clipped to `[0, 2 * max_int]`, is stored, `32 / bits` values
a uint32, lowest bits first: `q_weight [N, K * bits / 32] uint32` and `q_scale [N, K / 32]`.
"""

from __future__ import annotations

from dataclasses import dataclass

GROUP_SIZE = 32


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
