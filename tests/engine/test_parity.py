"""Logits against `transformers` and `peft`, on the very weights that a folder stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import (
    GROUPED,
    ODDITIES,
    QWEN2,
    TARGETS,
    UNTIED,
    engine_logits,
    reference,
    reference_logits,
    with_adapter,
    write_adapter,
)

from local_runtime.adapters.mixing import mix_adapters
from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.tvm.run.opening import EngineOptions, open_engine

Make = Callable[[DecoderConfig, str], Path]
EXACT = EngineOptions(kv_cache_tokens=512, kv_dtype="float32")
HALF = EngineOptions(kv_cache_tokens=512, kv_dtype="float16")


def random_ids(config: DecoderConfig, n: int = 150) -> tuple[int, ...]:
    return tuple(int(i) for i in np.random.default_rng(7).integers(0, config.vocab_size, n))


def divergence(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean KL(theirs || ours) per token, in nats."""
    p, q = (torch.log_softmax(torch.tensor(x, dtype=torch.float64), -1) for x in (theirs, ours))
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("name", ODDITIES)
def test_floats_are_those_of_transformers(name: str, make_model: Make) -> None:
    config = ODDITIES[name]
    folder, ids = make_model(config, "q0f32"), random_ids(config)
    expected = reference_logits(reference(folder), ids)
    assert np.abs(engine_logits(open_engine(folder, EXACT), ids) - expected).max() < 1e-4


def test_half_precision_kv_is_near(make_model: Make) -> None:
    folder, ids = make_model(GROUPED, "q0f32"), random_ids(GROUPED)
    expected = reference_logits(reference(folder), ids)
    worst = np.abs(engine_logits(open_engine(folder, HALF), ids) - expected).max()
    assert 1e-6 < worst < 2e-3


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("grouped", "q8f16_g32"), ("grouped", "q4f16_1"), ("qwen2", "q8f16_g32"), ("untied", "q4f32_1")],
)
def test_integers_are_near_their_own_dequantised_weights(name: str, quantization: str, make_model: Make) -> None:
    config = ODDITIES[name]
    folder, ids = make_model(config, quantization), random_ids(config)
    ours = engine_logits(open_engine(folder, HALF), ids)
    theirs = reference_logits(reference(folder), ids)
    assert divergence(ours, theirs) < 2e-4


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (GROUPED, {}),
        (QWEN2, {"rank": 24, "use_rslora": True, "lora_alpha": 8}),
        (UNTIED, {"targets": ("q_proj", "v_proj", "down_proj"), "rank": 3}),
        (GROUPED, {"targets": ("up_proj",), "layers": (1,)}),
        (
            GROUPED,
            {
                "rank_pattern": {"q_proj": 20, "down_proj": 2},
                "alpha_pattern": {"q_proj": 5, "layers.0.self_attn.v_proj": 1},
            },
        ),
        (QWEN2, {"rank": 64}),
    ],
)
def test_adapters_are_those_of_peft(config: DecoderConfig, options: dict, make_model: Make, tmp_path: Path) -> None:
    folder, ids = make_model(config, "q0f32"), random_ids(config, 60)
    path = write_adapter(tmp_path / "adapter", config, size=0.05, **options)
    engine, adapter = open_engine(folder, EXACT), read_adapter(path)
    base = engine_logits(engine, ids)
    ours = engine_logits(engine, ids, adapter)
    theirs = reference_logits(with_adapter(reference(folder), path), ids)
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.abs(ours - base).max() > 1e-2


def test_strength_scales_what_the_adapter_adds(make_model: Make, tmp_path: Path) -> None:
    folder, ids = make_model(GROUPED, "q0f32"), random_ids(GROUPED, 60)
    full = write_adapter(tmp_path / "full", GROUPED, lora_alpha=8)
    half = write_adapter(tmp_path / "half", GROUPED, lora_alpha=4)
    engine = open_engine(folder, EXACT)
    ours = engine_logits(engine, ids, read_adapter(full), 0.5)
    assert np.abs(ours - reference_logits(with_adapter(reference(folder), half), ids)).max() < 1e-4


@pytest.mark.parametrize("quantization", ["q8f16_g32", "q4f16_1"])
def test_adapters_beside_integers_are_near_peft(quantization: str, make_model: Make, tmp_path: Path) -> None:
    """Their A and B are int8 with a scale per group: near, not equal."""
    folder, ids = make_model(GROUPED, quantization), random_ids(GROUPED, 100)
    path = write_adapter(tmp_path / "adapter", GROUPED, rank=16, size=0.05)
    engine = open_engine(folder, HALF)
    theirs = reference_logits(with_adapter(reference(folder), path), ids)
    assert divergence(engine_logits(engine, ids, read_adapter(path)), theirs) < 3e-4
    assert divergence(engine_logits(engine, ids), theirs) > 1e-3


def test_a_mix_is_the_weighted_sum_of_peft(make_model: Make, tmp_path: Path) -> None:
    folder, ids = make_model(GROUPED, "q0f32"), random_ids(GROUPED, 60)
    paths = [
        write_adapter(tmp_path / "a", GROUPED, seed=1, rank=8, size=0.05),
        write_adapter(tmp_path / "b", GROUPED, seed=2, rank=16, targets=("q_proj", "up_proj"), size=0.05),
    ]
    mix = mix_adapters([(read_adapter(paths[0]), 0.7), (read_adapter(paths[1]), 1.5)])
    assert (mix.rank, mix.targets) == (24, tuple(sorted(TARGETS)))
    decoder = with_adapter(reference(folder), paths[0])
    decoder.load_adapter(paths[1], "b")
    decoder.add_weighted_adapter(["default", "b"], [0.7, 1.5], "mix", combination_type="cat")
    decoder.set_adapter("mix")
    ours = engine_logits(open_engine(folder, EXACT), ids, mix)
    assert np.abs(ours - reference_logits(decoder, ids)).max() < 1e-4
    assert mix_adapters([(read_adapter(paths[0]), 0.7), (read_adapter(paths[1]), 1.5)]) == mix
    with_peft = reference_logits(with_adapter(reference(folder), mix.path), ids)
    assert np.abs(ours - with_peft).max() < 1e-4  # PEFT loads ours, too


def test_greedy_text_and_scores_are_those_of_transformers(make_model: Make) -> None:
    folder, prompt = make_model(UNTIED, "q0f32"), random_ids(UNTIED, 40)
    decoder = reference(folder)
    engine = open_engine(folder, EXACT)
    ours = [i for piece in engine.stream(Prompt(prompt), Sampling(max_tokens=30)) for i in piece.token_ids]
    theirs = decoder.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, 40),
        max_new_tokens=30,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert ours == theirs[0, 40:].tolist()
    target = random_ids(UNTIED, 70)[40:]
    scored = [x for piece in engine.score(Prompt(prompt), target) for x in piece.logprobs]
    expected = torch.log_softmax(torch.tensor(reference_logits(decoder, prompt + target)), -1)
    assert scored == pytest.approx([float(expected[39 + n, i]) for n, i in enumerate(target)], abs=1e-4)
