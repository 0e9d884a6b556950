"""The parity table: every family, float and quantised, with an adapter and without, against `transformers` and `peft`.

Prompts are longer than StarCoder2's sliding window here, and no two families have heads of one size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import (
    FAMILIES,
    check_rewound_and_forked,
    engine_logits,
    reference,
    reference_logits,
    with_adapter,
    write_adapter,
)

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter, Prompt, Sampling
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine

Make = Callable[[DecoderConfig, str], Path]
N_PROMPT, N_WRITTEN = 130, 24
LARGEST_DIFFERENCE = 1e-4
"""Of float logits, whose spread is near 1."""
LARGEST_KL = {False: 3e-4, True: 6e-4}
"""Nats a token of integers, without and with an adapter, which is int8 there, too."""
SAME_GREEDY = 0.9
"""Share of tokens at which integers choose what floats do, though random models hardly prefer any."""


def random_ids(config: DecoderConfig, n: int = N_PROMPT) -> tuple[int, ...]:
    return tuple(int(i) for i in np.random.default_rng(7).integers(0, config.vocab_size, n))


def divergence(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean KL(theirs || ours) per token, in nats."""
    p, q = (torch.log_softmax(torch.tensor(x, dtype=torch.float64), -1) for x in (theirs, ours))
    return float((p.exp() * (p - q)).sum(-1).mean())


def written(engine: CompiledEngine, ids: tuple[int, ...], adapter: Adapter | None) -> list[int]:
    """The greedy completion of `ids`."""
    stream = engine.stream(Prompt(ids), Sampling(max_tokens=N_WRITTEN), adapter)
    return [i for piece in stream for i in piece.token_ids]


def written_by_transformers(decoder: Any, ids: tuple[int, ...]) -> list[int]:
    mask = torch.ones(1, len(ids))
    options = {"max_new_tokens": N_WRITTEN, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return decoder.generate(input_ids=torch.tensor([ids]), attention_mask=mask, **options)[0, len(ids) :].tolist()


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
@pytest.mark.parametrize(
    "quantization", ["q0f32", *(pytest.param(q, marks=pytest.mark.slow) for q in ("q8f16_g32", "q4f16_1"))]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_that_of_transformers(
    family: str, quantization: str, adapted: bool, make_model: Make, tmp_path: Path
) -> None:
    config, exact = FAMILIES[family], quantization == "q0f32"
    folder, ids = make_model(config, quantization), random_ids(config)
    engine = open_engine(folder, EngineOptions(kv_cache_tokens=512, kv_dtype="float32" if exact else "float16"))
    theirs, adapter = reference(folder), None
    if adapted:
        path = write_adapter(tmp_path / "adapter", config, rank=8, size=0.05)
        theirs, adapter = with_adapter(theirs, path), read_adapter(path)
    ours = engine_logits(engine, ids, adapter)
    expected = reference_logits(theirs, ids)
    if exact:
        assert np.abs(ours - expected).max() < LARGEST_DIFFERENCE
        assert written(engine, ids, adapter) == written_by_transformers(theirs, ids)
    else:
        assert divergence(ours, expected) < LARGEST_KL[adapted]
        assert (ours.argmax(-1) == expected.argmax(-1)).mean() > SAME_GREEDY
        assert written(engine, ids, adapter)[0] == ours[-1].argmax()
    if adapted:
        base = engine_logits(engine, ids)
        assert np.abs(ours - base).max() > 1e-2
        assert np.array_equal(engine_logits(engine, ids, adapter, 0.0), base)
    for chunk in (1, 7, 33):  # decode, and prefill in chunks that fit no page
        assert np.array_equal(engine_logits(engine, ids, adapter, chunk=chunk), ours)


@pytest.mark.parametrize("family", ["qwen3", "granite", "starcoder2", "starcoder"])
def test_rewound_and_forked_states_agree_bit_for_bit(family: str, make_model: Make) -> None:
    config = FAMILIES[family]
    ids = random_ids(config)
    engine = open_engine(make_model(config, "q8f16_g32"), EngineOptions(kv_cache_tokens=512))
    check_rewound_and_forked(engine, ids[:100], ids[110:130])


def test_a_window_is_not_the_whole_context(make_model: Make) -> None:
    """What lies before the window changes nothing but through what the window itself has seen."""
    config = FAMILIES["starcoder2"]
    engine = open_engine(make_model(config, "q0f32"), EngineOptions(kv_cache_tokens=512, kv_dtype="float32"))
    ids = random_ids(config)
    reach = config.n_layers * (config.sliding_window - 1)  # tokens before the last that it can know of
    far, near = list(ids), list(ids)
    for changed, at in ((far, -reach - 2), (near, -reach - 1)):
        changed[at] = (changed[at] + 1) % config.vocab_size
    last = engine_logits(engine, ids)[-1]
    assert np.array_equal(engine_logits(engine, tuple(far))[-1], last)
    assert not np.array_equal(engine_logits(engine, tuple(near))[-1], last)
