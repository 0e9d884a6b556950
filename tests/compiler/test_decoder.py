"""Compiled decoders against NumPy, on every instruction set that this machine can run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
import running
from running import Compile

from local_runtime.devices.target import Isa, detect
from local_runtime.errors import BuildFailed
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.quantization import QUANTIZATIONS

LLAMA = DecoderConfig("llama", 128, 256, 2, 4, 2, 32, 1000, 512)
MULTI_QUERY = DecoderConfig(
    "qwen2", 128, 160, 1, 2, 1, 80, 515, 512, norm_eps=1e-5, tied_embeddings=True, qkv_bias=True, o_bias=True,
    mlp_bias=True,
)  # fmt: skip
MULTI_HEAD = DecoderConfig("llama", 96, 64, 1, 6, 6, 16, 70, 512)
WIDE_HEADS = DecoderConfig("qwen2", 64, 96, 1, 3, 1, 128, 64, 512, qkv_bias=True)
N_TOKENS = 77


def runnable() -> list[Isa]:
    """What runs here: the best, and all that came before it."""
    best, order = detect().isa, list(Isa)
    return [isa for isa in order[order.index(best) :] if isa is not Isa.NEON or best is Isa.NEON]


def tokens(config: DecoderConfig) -> np.ndarray:
    return np.random.default_rng(1).integers(0, config.vocab_size, N_TOKENS).astype(np.int32)


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean KL divergence in nats."""
    p, q = (x - np.log(np.exp(x.astype(np.float64)).sum(-1, keepdims=True)) for x in (expected, found))
    return float((np.exp(p) * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("config", [LLAMA, MULTI_QUERY, MULTI_HEAD, WIDE_HEADS], ids=["llama", "mqa", "mha", "wide"])
def test_floats_equal_numpy(compiled: Compile, config: DecoderConfig) -> None:
    model = running.Model(
        compiled(config, "q0f32", kv_dtype="float32"), reference.random_weights(config), QUANTIZATIONS["q0f32"]
    )
    for rank, strength in ((0, 0.0), (8, 0.7), (33, 2.0)):
        model.use(reference.random_adapter(config, rank) if rank else {}, strength)
        expected = reference.logits(model.served, tokens(config))
        found, greedy, normalizer = model.call("verify", tokens(config), 0)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(greedy, found.argmax(-1))
        np.testing.assert_allclose(normalizer, np.log(np.exp(found.astype(np.float64)).sum(-1)), atol=2e-6)


def test_half_floats(compiled: Compile) -> None:
    model = running.Model(compiled(LLAMA, "q0f16"), reference.random_weights(LLAMA), QUANTIZATIONS["q0f16"])
    found = model.call("verify", tokens(LLAMA), 0)[0]
    np.testing.assert_allclose(found, reference.logits(model.served, tokens(LLAMA)), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("quantization", "isa"),
    [
        ("q8f16_g32", Isa.AVX512VNNI),
        ("q8f16_g32", Isa.AVX2VNNI),
        ("q8f16_g32", Isa.AVX2),
        ("q8f16_g32", Isa.GENERIC),
        ("q4f16_1", Isa.AVX512VNNI),
        ("q4f32_1", Isa.AVX2),
        ("q4f16_1", Isa.GENERIC),
    ],
)
def test_integers_on_every_instruction_set(compiled: Compile, quantization: str, isa: Isa) -> None:
    """Close to their own de-quantised weights, with and without an adapter."""
    if isa not in runnable():
        pytest.skip(f"this machine has no {isa}")
    library = compiled(LLAMA, quantization, isa)
    model = running.Model(library, reference.random_weights(LLAMA), QUANTIZATIONS[quantization])
    for rank, strength in ((0, 0.0), (16, 1.0), (40, 2.0)):
        model.use(reference.random_adapter(LLAMA, rank) if rank else {}, strength)
        expected, found = reference.logits(model.served, tokens(LLAMA)), model.call("verify", tokens(LLAMA), 0)[0]
        assert divergence(expected, found) < 2e-4
        np.testing.assert_allclose(found, expected, atol=0.12)


@pytest.mark.parametrize("quantization", ["q8f16_g32", "q4f16_1", "q0f16"])
@pytest.mark.parametrize("strength", [0.0, 1.3])
def test_rows_agree_bit_for_bit_however_they_are_cut(compiled: Compile, quantization: str, strength: float) -> None:
    model = running.Model(compiled(LLAMA, quantization), reference.random_weights(LLAMA), QUANTIZATIONS[quantization])
    model.use(reference.random_adapter(LLAMA, 24), strength)
    ids = tokens(LLAMA)
    whole = model.call("verify", ids, 0)[0]
    for cuts in ([1] * N_TOKENS, [2, 3, 4, 5, 6, 7, 8, 13, 29], [40, 37], [76, 1]):
        start = 0
        for n in cuts:
            last = model.call("prefill" if n > 1 else "decode", ids[start : start + n], start)[0]
            np.testing.assert_array_equal(last[0], whole[start + n - 1])
            start += n
    np.testing.assert_array_equal(model.call("verify", ids[50:], 50)[0], whole[50:])


@pytest.mark.parametrize("quantization", ["q8f16_g32", "q0f16"])
def test_strength_zero_is_the_base_and_absent_linears_cost_no_rank(compiled: Compile, quantization: str) -> None:
    model = running.Model(compiled(LLAMA, quantization), reference.random_weights(LLAMA), QUANTIZATIONS[quantization])
    base = model.call("verify", tokens(LLAMA), 0)[0]
    model.use(reference.random_adapter(LLAMA, 64), 0.0)
    np.testing.assert_array_equal(model.call("verify", tokens(LLAMA), 0)[0], base)
    only_mlp = {name: pair for name, pair in reference.random_adapter(LLAMA, 16).items() if "down_proj" in name}
    model.use(only_mlp, 1.0)
    assert not any("o_proj.lora" in name for name in model.arrays)
    found = model.call("verify", tokens(LLAMA), 0)[0]
    assert np.abs(found - base).max() > 1e-3
    assert divergence(reference.logits(model.served, tokens(LLAMA)), found) < 2e-4


def test_what_a_page_held_before_does_not_matter(compiled: Compile) -> None:
    model = running.Model(compiled(LLAMA, "q8f16_g32"), reference.random_weights(LLAMA), QUANTIZATIONS["q8f16_g32"])
    clean = model.call("verify", tokens(LLAMA), 0)[0]
    for pool in (model.keys, model.values):
        np.from_dlpack(pool)[...] = np.nan
    np.testing.assert_array_equal(model.call("verify", tokens(LLAMA), 0)[0], clean)


def test_a_sequence_lies_in_any_pages(compiled: Compile) -> None:
    model = running.Model(compiled(LLAMA, "q8f16_g32"), reference.random_weights(LLAMA), QUANTIZATIONS["q8f16_g32"])
    clean = model.call("verify", tokens(LLAMA), 0)[0]
    model.table = running.tensor(np.array([11, 3, 7], np.int32))
    np.testing.assert_array_equal(model.call("verify", tokens(LLAMA), 0)[0], clean)


def test_shapes_without_kernels_are_refused(compiled: Compile) -> None:
    with pytest.raises(BuildFailed, match="100 inputs, which is not a multiple of 32"):
        compiled(dataclasses.replace(LLAMA, hidden_size=100), "q8f16_g32")
    with pytest.raises(BuildFailed, match="a head must have a multiple of 16"):
        compiled(dataclasses.replace(LLAMA, head_dim=24), "q8f16_g32")
