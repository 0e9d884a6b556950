"""The front of a linear: one row of activations is normalised or gated, and cut in groups of int8 with a scale each.

Quantising activations in groups of 32 is what llama.cpp's Q8_0 does (`block_q8_0`); it is what makes integer dot
products possible. Libraries of floats keep them as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.layout import PackedLayout
from local_runtime.tvm.build.vectors import (
    broadcast,
    exponential,
    intrinsic,
    largest_magnitude,
    normal_cdf,
    sigmoid,
    total,
)

LANES = 32
"""A vector here is one group of inputs; LLVM cuts it into registers."""


class Front(StrEnum):
    """What happens to a row before the matrix."""

    RMS_NORM = "rms_norm"
    """x / sqrt(mean(x²) + eps) * weight."""
    LAYER_NORM = "layer_norm"
    """(x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) * weight + bias."""
    SWIGLU = "swiglu"
    """silu(gate) * up of a row `[gate | up]`."""
    GELU = "gelu"
    """x Φ(x)."""
    GELU_TANH = "gelu_tanh"
    """x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, which is x sigmoid(2√(2/π) (x + 0.044715 x³))."""
    PLAIN = "plain"


def row_width(front: Front, k: int) -> int:
    """Width of the rows that a front reads to make `k` inputs."""
    return 2 * k if front is Front.SWIGLU else k


def quantize_group(layout: PackedLayout) -> Callable[..., Any]:
    """Macro: `values[i, :group]` become group `g` of row `m`: words, their scale times `factor`, and their sum."""
    n = layout.group

    @T.macro
    def quantize(values, i, words, scales, sums, m, g, factor):
        with T.sblock("quantize"):
            T.reads()
            T.writes()
            peak = T.sblock_alloc_buffer((1,), "float32")
            rounded = T.sblock_alloc_buffer((n,), "int32")
            if layout.integer:
                peak[0] = T.max(largest_magnitude(values[i, T.ramp(0, 1, n)], n), T.float32(1e-20))
                rounded[T.ramp(0, 1, n)] = T.cast(
                    intrinsic(
                        f"float32x{n}",
                        "llvm.nearbyint",
                        values[i, T.ramp(0, 1, n)] * broadcast(T.float32(127) / peak[0], n),
                    ),
                    f"int32x{n}",
                )
                scales[m, g] = peak[0] * T.float32(1.0 / 127) * factor
                sums[m, g] = intrinsic("int32", "llvm.vector.reduce.add", rounded[T.ramp(0, 1, n)])
                words[m, g, T.ramp(0, 1, n // 4)] = T.reinterpret(
                    f"int32x{n // 4}", T.cast(rounded[T.ramp(0, 1, n)], f"int8x{n}")
                )
            else:
                words[m, g, T.ramp(0, 1, n)] = values[i, T.ramp(0, 1, n)] * broadcast(factor, n)

    return quantize


def front_row(front: Front, k: int, eps: float, layout: PackedLayout) -> Callable[..., Any]:
    """Macro: row `xm` of `x [.., row_width]` becomes row `m` of `words [M, K/32, 8 or 32]`, `scales` and `sums [M, K/32]`.

    `norm` and `norm_bias` are vectors `[K]` for the fronts that have them.
    """
    n_groups = k // LANES
    quantize = quantize_group(layout)

    def group(buffer: Any, m: Any, start: Any) -> Any:
        return buffer[m, T.ramp(start, 1, LANES)]

    def gelu(x: Any) -> Any:
        if front is Front.GELU:
            return x * normal_cdf(x, LANES)
        cubic = broadcast(T.float32(1), LANES) + x * x * broadcast(T.float32(0.044715), LANES)
        return x * sigmoid(x * cubic * broadcast(T.float32(2 * math.sqrt(2 / math.pi)), LANES), LANES)

    @T.macro
    def row(x, xm, norm, norm_bias, words, scales, sums, m):
        with T.sblock("front"):
            T.reads()
            T.writes()
            squares = T.sblock_alloc_buffer((LANES,), "float32")
            mean = T.sblock_alloc_buffer((1,), "float32")
            factor = T.sblock_alloc_buffer((1,), "float32")
            value = T.sblock_alloc_buffer((1, LANES), "float32")
            if front is Front.RMS_NORM:
                squares[T.ramp(0, 1, LANES)] = broadcast(T.float32(0), LANES)
                for g in T.serial(n_groups):
                    squares[T.ramp(0, 1, LANES)] = squares[T.ramp(0, 1, LANES)] + group(x, xm, g * LANES) * group(
                        x, xm, g * LANES
                    )
                factor[0] = T.float32(1) / T.sqrt(
                    total(squares[T.ramp(0, 1, LANES)]) * T.float32(1.0 / k) + T.float32(eps)
                )
            elif front is Front.LAYER_NORM:
                squares[T.ramp(0, 1, LANES)] = broadcast(T.float32(0), LANES)
                for g in T.serial(n_groups):
                    squares[T.ramp(0, 1, LANES)] = squares[T.ramp(0, 1, LANES)] + group(x, xm, g * LANES)
                mean[0] = total(squares[T.ramp(0, 1, LANES)]) * T.float32(1.0 / k)
                squares[T.ramp(0, 1, LANES)] = broadcast(T.float32(0), LANES)
                for g in T.serial(n_groups):
                    value[0, T.ramp(0, 1, LANES)] = group(x, xm, g * LANES) - broadcast(mean[0], LANES)
                    squares[T.ramp(0, 1, LANES)] = (
                        squares[T.ramp(0, 1, LANES)] + value[0, T.ramp(0, 1, LANES)] * value[0, T.ramp(0, 1, LANES)]
                    )
                factor[0] = T.float32(1) / T.sqrt(
                    total(squares[T.ramp(0, 1, LANES)]) * T.float32(1.0 / k) + T.float32(eps)
                )
            for g in T.serial(n_groups):
                if front is Front.RMS_NORM:
                    value[0, T.ramp(0, 1, LANES)] = (
                        group(x, xm, g * LANES) * broadcast(factor[0], LANES) * norm[T.ramp(g * LANES, 1, LANES)]
                    )
                elif front is Front.LAYER_NORM:
                    value[0, T.ramp(0, 1, LANES)] = (group(x, xm, g * LANES) - broadcast(mean[0], LANES)) * broadcast(
                        factor[0], LANES
                    ) * norm[T.ramp(g * LANES, 1, LANES)] + norm_bias[T.ramp(g * LANES, 1, LANES)]
                elif front is Front.GELU or front is Front.GELU_TANH:
                    value[0, T.ramp(0, 1, LANES)] = gelu(group(x, xm, g * LANES))
                elif front is Front.SWIGLU:
                    value[0, T.ramp(0, 1, LANES)] = (
                        group(x, xm, g * LANES)
                        / (
                            broadcast(T.float32(1), LANES)
                            + exponential(broadcast(T.float32(0), LANES) - group(x, xm, g * LANES), LANES)
                        )
                        * group(x, xm, k + g * LANES)
                    )
                else:
                    value[0, T.ramp(0, 1, LANES)] = group(x, xm, g * LANES)
                quantize(value, 0, words, scales, sums, m, g, T.float32(1))

    return row
