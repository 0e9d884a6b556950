"""Packing loses nothing, and says what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_runtime.tvm.run import packing
from local_runtime.tvm.run.library import Layout, Parameter


def layout(bits: int, offset: int) -> Layout:
    return Layout(
        bits, "float16" if bits < 32 else "float32", 32, 32, offset, 8 if bits < 16 else bits, 128, 16, 64, 32
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(8, 0), (8, 128), (4, 7)]),
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_words_round_trip(width: tuple[int, int], parts: list[int], n_groups: int, seed: int) -> None:
    bits, offset = width
    limit = 2 ** (bits - 1) - 1
    q = np.random.default_rng(seed).integers(-limit, limit + 1, (sum(parts), 32 * n_groups)).astype(np.int8)
    per_word = 32 // bits
    stored = (q.astype(np.int64) + limit).reshape(len(q), -1, per_word) << np.arange(per_word) * bits
    words = packing.pack_words(stored.sum(-1).astype(np.uint32), layout(bits, offset), parts)
    assert words.shape == (sum(-(-part // 32) for part in parts), n_groups, bits, 32)
    np.testing.assert_array_equal(packing.unpack_words(words, layout(bits, offset), parts), q)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([16, 32]), st.lists(st.integers(1, 70), min_size=1, max_size=3), st.integers(1, 4))
def test_floats_and_scales_round_trip(bits: int, parts: list[int], n_groups: int) -> None:
    one = layout(bits, 0)
    weight = np.random.default_rng(0).standard_normal((sum(parts), 32 * n_groups)).astype(one.float_dtype)
    np.testing.assert_array_equal(packing.unpack_float(packing.pack_float(weight, one, parts), one, parts), weight)
    scales = weight[:, :n_groups].copy()
    np.testing.assert_array_equal(packing.unpack_scales(packing.pack_scales(scales, one, parts), one, parts), scales)


def test_where_an_input_lies() -> None:
    """The picture in `compiler/layout.py`: block, group, word, lane; lowest byte first."""
    q = np.zeros((64, 64), np.uint8) + 127
    q[37, 41] = 127 + 5
    words = packing.pack_words(q.view(np.uint32), layout(8, 128), [64])
    assert words[1, 1].view(np.uint8).reshape(8, 32, 4)[2, 5, 1] == 128 + 5


def test_adapter_ranks_are_padded_to_sixteen_and_parts_stay_apart() -> None:
    a = [np.ones((3, 64), np.float32), None, np.full((17, 64), 2, np.float32)]
    b = [np.ones((40, 3), np.float32), None, np.full((40, 17), 3, np.float32)]
    packed = packing.pack_adapter(a, b, layout(32, 0), (40, 40, 40))
    assert packed["lora_a.words"].shape == (2, 3, 2, 32, 16)
    assert packed["lora_b.words"].shape == (2, 6, 16, 32)
    assert packed["lora_a.words"][:, 1].sum() == 0
    assert packed["lora_a.words"][0, 0].sum() == 3 * 64
    assert packed["lora_b.words"][:, 4:].sum() == 3 * 17 * 40


def test_the_table_refuses_what_does_not_fit() -> None:
    parameters = [Parameter("norm.weight", (32,), "float32", ())]
    with pytest.raises(ValueError, match=r"norm\.weight is missing"):
        packing.address_table(parameters, {})
    with pytest.raises(ValueError, match=r"not float32\[32\]"):
        packing.address_table(parameters, {"norm.weight": np.zeros(31, np.float32)})
