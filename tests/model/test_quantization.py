"""The bits that are stored are MLC's, checked against a slow reference and against TVM itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from local_runtime.model.quantization import QUANTIZATIONS, Quantization, dequantize, quantize

GROUPED = [q for q in QUANTIZATIONS.values() if q.grouped]
Array = np.ndarray[Any, np.dtype[Any]]


def slow_reference(weight: Array, q: Quantization) -> tuple[Array, Array]:
    """MLC's rule, one number after the other."""
    dtype = np.dtype(q.float_dtype if q.bits == 4 else np.float32).type
    n, k = weight.shape
    words, scales = np.zeros((n, k * q.bits // 32), np.uint32), np.zeros((n, k // 32), q.float_dtype)
    for i in range(n):
        for g in range(k // 32):
            group = [dtype(np.dtype(q.float_dtype).type(w)) for w in weight[i, 32 * g : 32 * g + 32]]
            scales[i, g] = max(abs(w) for w in group) / dtype(q.max_int)
            for j, w in enumerate(group):
                scaled = q.max_int if scales[i, g] == 0 else np.rint(w / dtype(scales[i, g]) + dtype(q.max_int))
                bit = (32 * g + j) * q.bits
                words[i, bit // 32] |= np.uint32(min(max(int(scaled), 0), 2 * q.max_int) << bit % 32)
    return words, scales


def hard_weights() -> Array:
    """Random rows, ties, a row of zeros, very small and very large numbers."""
    weight = np.random.default_rng(7).standard_normal((8, 128)).astype(np.float32) * 0.05
    weight[1] = np.linspace(-3.5, 3.5, 128).round(1) / 7
    weight[2] = 0
    weight[3] *= 1e-5  # scales are subnormal in half precision: coarse, and clipping counts
    weight[4] *= 1e4
    weight[5, ::2] = 0
    weight[6] = np.tile(np.arange(-15, 17, dtype=np.float32) / 2, 4)
    return weight


@pytest.mark.parametrize("q", GROUPED, ids=lambda q: q.name)
def test_bits_are_those_of_the_slow_reference(q: Quantization) -> None:
    words, scales = quantize(hard_weights(), q)
    expected_words, expected_scales = slow_reference(hard_weights(), q)
    assert words.dtype == np.uint32 and scales.dtype == q.float_dtype
    np.testing.assert_array_equal(scales, expected_scales)
    np.testing.assert_array_equal(words, expected_words)


@pytest.mark.parametrize("name", ["q4f16_1", "q4f32_1"])
def test_bits_are_those_that_tvm_computes(name: str) -> None:
    """MLC quantises with a TVM tensor expression of this rule: ties, rounding and half precision are TVM's."""
    import tvm  # noqa: PLC0415  slow to import, and only here
    from tvm import te, tirx  # noqa: PLC0415

    q, n, k = QUANTIZATIONS[name], 8, 128
    weight = hard_weights()[[0, 1, 3, 4, 5, 6] * 2][:n].astype(q.float_dtype)
    max_int = tirx.const(q.max_int, q.float_dtype)
    given_weight = te.placeholder((n, k), q.float_dtype)
    r, s = te.reduce_axis((0, 32)), te.reduce_axis((0, 8))
    largest = te.compute((n, k // 32), lambda i, g: te.max(te.abs(given_weight[i, g * 32 + r]), axis=r))
    scale = te.compute((n, k // 32), lambda i, g: largest[i, g] / max_int)
    integers = te.compute(
        (n, k),
        lambda i, j: tirx.min(
            tirx.max(tirx.round(given_weight[i, j] / scale[i, j // 32] + max_int), tirx.const(0, q.float_dtype)),
            max_int * 2,
        ).astype("uint32"),
    )
    packed = te.compute(
        (n, k // 8), lambda i, j: te.sum(integers[i, j * 8 + s] << (s * 4).astype("uint32"), axis=s)
    )  # fmt: skip
    compiled = tvm.compile(te.create_prim_func([given_weight, packed, scale]), target={"kind": "llvm"})
    words = tvm.runtime.tensor(np.zeros((n, k // 8), np.uint32))
    scales = tvm.runtime.tensor(np.zeros((n, k // 32), q.float_dtype))
    compiled(tvm.runtime.tensor(weight), words, scales)
    found_words, found_scales = quantize(weight, q)
    np.testing.assert_array_equal(found_scales, scales.numpy())
    np.testing.assert_array_equal(found_words, words.numpy())


@settings(deadline=None, max_examples=60)
@given(
    weight=arrays(np.float32, (2, 64), elements=st.floats(-6e4, 6e4, width=32)),
    q=st.sampled_from(GROUPED),
)
def test_a_weight_comes_back_within_half_a_step(weight: Array, q: Quantization) -> None:
    words, scales = quantize(weight, q)
    step = np.repeat(scales.astype(np.float64), 32, axis=1)
    error = np.abs(dequantize(words, scales, q) - weight.astype(q.float_dtype).astype(np.float64))
    # Half precision rounds the sum w / scale + 7 to 1/128; a subnormal scale is coarse itself.
    assert np.all(error <= step * 0.52 + 7 * 6e-8 * q.max_int)


@pytest.mark.parametrize("q", GROUPED, ids=lambda q: q.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused(q: Quantization, bad: float) -> None:
    weight = hard_weights()
    weight[3, 77] = bad
    with pytest.raises(ValueError, match="not finite"):
        quantize(weight, q)


def test_a_number_too_large_for_half_precision_is_refused() -> None:
    weight = hard_weights()
    weight[0, 0] = 70000
    with pytest.raises(ValueError, match="not finite in float16"):
        quantize(weight, QUANTIZATIONS["q4f16_1"])
