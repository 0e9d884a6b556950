"""Sampling, healing, prompt lookup, rotary tables: pure parts of the engine."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from local_runtime.engines.protocol import Sampling
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.errors import ModelInvalid
from local_runtime.model.decoder_config import DecoderConfig, RopeScaling
from local_runtime.tvm.run.healing import Healing
from local_runtime.tvm.run.rope import rope_tables
from local_runtime.tvm.run.sampling import Sampler
from local_runtime.tvm.run.speculation import MAX_DRAFT, Acceptance, Draft, PromptLookup

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


def shares(sampling: Sampling, n: int = 4000) -> list[float]:
    sampler = Sampler(sampling)
    counts = Counter(sampler.choose(LOGITS) for _ in range(n))
    return [counts[i] / n for i in range(4)]


def test_temperature_one_samples_the_distribution() -> None:
    assert shares(Sampling(temperature=1.0, seed=1)) == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=0.03)


def test_a_low_temperature_sharpens() -> None:
    expected = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    assert shares(Sampling(temperature=0.5, seed=1)) == pytest.approx(list(expected / expected.sum()), abs=0.03)


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    assert shares(Sampling(temperature=1.0, top_p=0.6, seed=1)) == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=0.03)
    assert shares(Sampling(temperature=1.0, top_p=1e-9, seed=1)) == [1, 0, 0, 0]


def test_greedy_takes_the_first_of_equals() -> None:
    assert Sampler(Sampling()).choose(np.array([1, 3, 3], np.float32)) == 1


def test_only_allowed_tokens() -> None:
    allowed = np.array([2, 3])
    assert Sampler(Sampling()).choose(LOGITS, allowed) == 2
    warm = Sampler(Sampling(temperature=1.0, seed=3))
    assert {warm.choose(LOGITS, allowed) for _ in range(100)} == {2, 3}


def test_seeds_repeat_and_differ() -> None:
    runs = [
        [s.choose(LOGITS) for _ in range(30)] for s in (Sampler(Sampling(temperature=1.0, seed=n)) for n in (1, 1, 2))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_healing_allows_what_leads_to_the_text() -> None:
    vocabulary = Vocabulary([b"r", b"re", b"return", b"x", b"tu", b"t", b"eturn", b""])
    healing = Healing(vocabulary, "retu")
    assert list(healing.allowed()) == [0, 1, 2]  # type: ignore[arg-type]
    healing.said(1)
    assert list(healing.allowed()) == [4, 5]  # type: ignore[arg-type]
    healing.said(4)
    assert healing.allowed() is None


def test_healing_gives_up_when_no_token_fits() -> None:
    assert Healing(Vocabulary([b"a"]), "z").allowed() is None


def brute_force(ids: list[int], limit: int) -> int:
    """Length of the longest earlier match of the end of `ids` (at most 8), by looking everywhere."""
    best = 0
    for at in range(1, len(ids) - 1):
        length = 0
        while length < 8 and length <= at and ids[at - length] == ids[len(ids) - 1 - length]:
            length += 1
        best = max(best, length)
    return best if best >= 2 else 0


@given(st.lists(st.integers(0, 2), max_size=16), st.lists(st.integers(0, 2), max_size=4))
def test_drafts_follow_the_longest_match(prompt: list[int], more: list[int]) -> None:
    lookup = PromptLookup(prompt, Acceptance())
    lookup.extend(more)
    ids = prompt + more
    draft = lookup.draft(5)
    assert draft.match == brute_force(ids, 5)
    if draft.match:
        assert 0 < len(draft.token_ids) <= 5
        tail = ids[-draft.match :]
        whole = ids + list(draft.token_ids)
        periods = [p for p in range(1, len(ids)) if whole[len(ids) - p : len(whole) - p] == list(draft.token_ids)]
        assert any(ids[len(ids) - p - len(tail) : len(ids) - p] == tail for p in periods)


def test_a_run_is_drafted_beyond_its_end() -> None:
    assert PromptLookup([5, 6, 5, 6, 5, 6], Acceptance()).draft(4).token_ids[:2] == (5, 6)


def test_drafts_grow_with_success_and_stop_with_failure() -> None:
    acceptance = Acceptance()
    before = acceptance.draft_length(4)
    for _ in range(100):
        acceptance.learn(Draft((1,) * 8, 4), 8)
    assert before < acceptance.draft_length(4) <= MAX_DRAFT
    failing = Acceptance()
    for _ in range(100):
        failing.learn(Draft((1,) * 8, 4), 0)
    assert failing.draft_length(4) == 0
    assert max(failing.draft_length(4) for _ in range(600)) > 0  # tried again after a while


def test_drafts_shrink_where_a_verification_is_dear() -> None:
    acceptance = Acceptance()
    assert acceptance.draft_length(8) > 0
    for _ in range(20):
        acceptance.pace.learn(0, 0.001)
        for n in range(1, MAX_DRAFT + 1):
            acceptance.pace.learn(n, 0.002 * n)
    assert acceptance.draft_length(8) == 0


SCALINGS = [
    (RopeScaling(), {"rope_type": "default"}),
    (RopeScaling("linear", 4.0), {"rope_type": "linear", "factor": 4.0}),
    (
        RopeScaling("llama3", 8.0, 1.0, 4.0, 256),
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        },
    ),
    (
        RopeScaling("yarn", 4.0, original_context_tokens=256),
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
    ),
    (
        RopeScaling("yarn", 4.0, original_context_tokens=256, beta_fast=16.0, beta_slow=2.0, attention_factor=1.25),
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 256,
            "beta_fast": 16,
            "beta_slow": 2,
            "attention_factor": 1.25,
        },
    ),
]
CONFIG = DecoderConfig("llama", 128, 256, 2, 4, 2, 32, 100, 1024, rope_theta=500000.0)


@pytest.mark.parametrize(("ours", "theirs"), SCALINGS)
def test_rope_tables_are_those_of_transformers(ours: RopeScaling, theirs: dict[str, object]) -> None:
    config = LlamaConfig(
        hidden_size=128, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        rope_parameters={"rope_theta": 500000.0} | theirs,
    )  # fmt: skip
    expected = LlamaRotaryEmbedding(config)(torch.zeros(1, 1024, 32), torch.arange(1024)[None])
    for table, reference in zip(rope_tables(dataclasses.replace(CONFIG, rope_scaling=ours)), expected, strict=True):
        assert table.dtype == np.float32
        assert np.abs(table - reference[0, :, :16].numpy()).max() < 1e-4


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="dynamic"):
        rope_tables(dataclasses.replace(CONFIG, rope_scaling=RopeScaling("dynamic")))
