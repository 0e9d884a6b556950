"""Vector arithmetic that LLVM does not write well by itself. All functions build TIR expressions.

A buffer of TIR lies on the stack, and so in registers, only if it is smaller than 1024 bytes and has the default scope;
kernels keep their accumulators below that.
"""

from __future__ import annotations

import math
from typing import Any

from tvm.script import tirx as T

Vector = Any
"""A TIR expression with lanes."""

SIGN_OFF = 0x7FFFFFFF


def intrinsic(dtype: str, name: str, *args: Any) -> Any:
    """One of LLVM's pure intrinsics by name."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *args, dtype=dtype)


def broadcast(value: Any, lanes: int) -> Vector:
    """`value` in every lane."""
    return T.broadcast(value, lanes)


def exponential(x: Vector, lanes: int) -> Vector:
    """exp(x) of float32 lanes within 2 ulp; exactly 0 below -87.

    Cephes' expf (a polynomial of degree 5 on [-ln2/2, ln2/2]); `T.exp` would become one call of libm a lane.
    """

    def constant(value: float) -> Vector:
        return broadcast(T.float32(value), lanes)

    low = constant(-87.0)
    clipped = T.max(T.min(x, constant(88.0)), low)
    k = intrinsic(f"float32x{lanes}", "llvm.nearbyint", clipped * constant(1.4426950408889634))
    r = clipped - k * constant(0.693359375) - k * constant(-2.12194440e-4)
    p = constant(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + constant(c)
    p = p * r * r + r + constant(1.0)
    exponent = T.shift_left(T.cast(k, f"int32x{lanes}") + broadcast(T.int32(127), lanes), broadcast(T.int32(23), lanes))
    return T.Select(x < low, constant(0.0), p * T.reinterpret(f"float32x{lanes}", exponent))


def sigmoid(x: Vector, lanes: int) -> Vector:
    """1 / (1 + exp(-x)) of float32 lanes."""
    one = broadcast(T.float32(1), lanes)
    return one / (one + exponential(broadcast(T.float32(0), lanes) - x, lanes))


def normal_cdf(x: Vector, lanes: int) -> Vector:
    """The normal distribution's Φ of float32 lanes within 1e-7 (Abramowitz & Stegun, formula 7.1.26)."""

    def constant(value: float) -> Vector:
        return broadcast(T.float32(value), lanes)

    size = T.max(x, constant(0.0) - x)
    t = constant(1.0) / (constant(1.0) + size * constant(0.3275911 / math.sqrt(2)))
    p = constant(1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        p = p * t + constant(c)
    tail = p * t * exponential(size * size * constant(-0.5), lanes) * constant(0.5)
    return T.Select(x < constant(0.0), tail, constant(1.0) - tail)


def total(x: Vector) -> Any:
    """Sum of float32 lanes, in order of lanes."""
    return intrinsic("float32", "llvm.vector.reduce.fadd", T.float32(0), x)


def largest(x: Vector, lanes: int) -> Any:
    """Largest of float32 lanes, through integers of the same order: a float reduction minds NaNs at every step."""
    bits = T.reinterpret(f"int32x{lanes}", x)
    sign = T.shift_right(bits, broadcast(T.int32(31), lanes))
    key = T.bitwise_xor(bits, T.bitwise_and(sign, broadcast(T.int32(SIGN_OFF), lanes)))
    best = intrinsic("int32", "llvm.vector.reduce.smax", key)
    return T.reinterpret(
        "float32", T.bitwise_xor(best, T.bitwise_and(T.shift_right(best, T.int32(31)), T.int32(SIGN_OFF)))
    )


def largest_magnitude(x: Vector, lanes: int) -> Any:
    """Largest |x| of float32 lanes."""
    bits = T.bitwise_and(T.reinterpret(f"int32x{lanes}", x), broadcast(T.int32(SIGN_OFF), lanes))
    return T.reinterpret("float32", intrinsic("int32", "llvm.vector.reduce.smax", bits))


def as_float32(value: Any, dtype: str, lanes: int) -> Any:
    """A stored value (`float16` or `float32`) as float32."""
    if dtype == "float32":
        return value
    return T.cast(value, f"float32x{lanes}" if lanes > 1 else "float32")


def as_stored(value: Any, dtype: str, lanes: int) -> Any:
    """A float32 value as it is stored."""
    if dtype == "float32":
        return value
    return T.cast(value, f"{dtype}x{lanes}" if lanes > 1 else dtype)
