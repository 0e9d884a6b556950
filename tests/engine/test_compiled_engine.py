"""The compiled engine keeps the laws, and more that only it has."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_laws import AdapterLaws, Subject, ids_of, text_of
from small_models import GROUPED, check_rewound_and_forked, engine_logits, write_adapter

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.devices.target import detect
from local_runtime.engines.protocol import Adapter, Prompt, Sampling
from local_runtime.errors import AdapterInvalid
from local_runtime.tvm.run import opening
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine

IDS = tuple(int(i) for i in np.random.default_rng(3).integers(10, 300, 300))


@pytest.fixture(scope="module", params=["q8f16_g32", "q4f16_1", "q0f32"])
def engine(request: pytest.FixtureRequest, make_model: Callable[..., Path], session_home: Path) -> CompiledEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(session_home))
        return open_engine(make_model(GROUPED, request.param), EngineOptions(kv_cache_tokens=2048))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    root = tmp_path_factory.mktemp("adapters")
    return [read_adapter(write_adapter(root / str(seed), GROUPED, seed=seed)) for seed in (1, 2)]


class TestLaws(AdapterLaws):
    @pytest.fixture
    def subject(self, engine: CompiledEngine, adapters: list[Adapter]) -> Subject:
        def decode(ids: tuple[int, ...]) -> str:
            return codecs.getincrementaldecoder("utf-8")("replace").decode(
                b"".join(engine._vocabulary.token_bytes[i] for i in ids)
            )

        return Subject(engine, (Prompt(IDS[:20]), Prompt(IDS)), lambda: engine.forwards, decode, adapters[0])


def test_however_computed_logits_agree_bit_for_bit(engine: CompiledEngine, adapters: list[Adapter]) -> None:
    for adapter in (None, adapters[0]):
        whole = engine_logits(engine, IDS[:120], adapter)
        for chunk in (1, 3, 31, 64):
            assert np.array_equal(engine_logits(engine, IDS[:120], adapter, chunk=chunk), whole)


def test_rewound_and_forked_states_agree_bit_for_bit(engine: CompiledEngine) -> None:
    check_rewound_and_forked(engine, IDS[:100], IDS[200:220])


def test_an_adapter_is_kept_once_it_was_used_and_never_one_that_does_not_fit(
    engine: CompiledEngine, tmp_path: Path
) -> None:
    mine = read_adapter(write_adapter(tmp_path / "mine", GROUPED, seed=31))
    assert not engine.keeps(mine)
    list(engine.score(Prompt(IDS[:8]), IDS[8:10], mine))
    assert engine.keeps(mine)
    other = read_adapter(write_adapter(tmp_path / "other", replace(GROUPED, hidden_size=2 * GROUPED.hidden_size)))
    with pytest.raises(AdapterInvalid):
        list(engine.score(Prompt(IDS[:8]), IDS[8:10], other))
    assert not engine.keeps(other)


def test_strength_zero_is_the_base_bit_for_bit(engine: CompiledEngine, adapters: list[Adapter]) -> None:
    base = engine_logits(engine, IDS[:100])
    assert np.array_equal(engine_logits(engine, IDS[:100], adapters[0], 0.0), base)
    assert not np.array_equal(engine_logits(engine, IDS[:100], adapters[0], 0.01), base)


def test_interleaved_adapters_and_strengths_do_not_meet(engine: CompiledEngine, adapters: list[Adapter]) -> None:
    asks = [
        (None, 1.0),
        (adapters[0], 1.0),
        (adapters[0], 0.5),
        (adapters[1], 1.0),
        (adapters[0], 0.0),
        (adapters[1], 2.0),
    ]
    sampling = Sampling(max_tokens=16)
    alone = []
    for adapter, strength in asks:
        engine._sequences.clear()
        pieces = list(engine.stream(Prompt(IDS), sampling, adapter, strength))
        alone.append((ids_of(pieces), tuple(x for p in pieces for x in p.logprobs)))
    assert len({logprobs for _, logprobs in alone}) == 5
    streams = {n: engine.stream(Prompt(IDS), sampling, *ask) for n, ask in enumerate(asks)}
    together: list[list] = [[] for _ in asks]
    while streams:
        for n, stream in list(streams.items()):
            piece = next(stream, None)
            together[n].append(piece) if piece else streams.pop(n)
    assert [(ids_of(p), tuple(x for piece in p for x in piece.logprobs)) for p in together] == alone


def test_a_typed_line_computes_one_token_a_key(engine: CompiledEngine) -> None:
    list(engine.stream(Prompt(IDS[:200]), Sampling(max_tokens=20)))
    for n in range(201, 240):
        before = engine.forwards
        next(engine.stream(Prompt(IDS[:n]), Sampling(max_tokens=20)))
        assert engine.forwards == before + 1


def test_the_cache_tells_how_full_it_is(engine: CompiledEngine) -> None:
    """What `/metrics` shows: a prompt of 100 tokens takes four pages of 32."""
    engine._sequences.clear()
    assert engine.kv_pages[0] == 0
    list(engine.stream(Prompt(IDS[:100]), Sampling(max_tokens=1)))
    assert engine.kv_pages == (4, engine.kv_pages[1])


def test_a_cancelled_prefill_is_not_lost(engine: CompiledEngine) -> None:
    engine._sequences.clear()
    stream = engine.stream(Prompt(IDS), Sampling(max_tokens=4))
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    before = engine.forwards
    next(engine.stream(Prompt(IDS), Sampling(max_tokens=4)))
    assert engine.forwards == before + 1


def test_drafts_save_forwards_and_seeds_survive_them(engine: CompiledEngine) -> None:
    loop = Prompt(IDS[:8] * 20)
    for sampling in (Sampling(max_tokens=100), Sampling(max_tokens=60, temperature=0.6, seed=5)):
        outcomes = []
        for speculate in (False, True):
            before = engine.forwards
            pieces = list(engine.stream(loop, replace(sampling, speculate=speculate)))
            outcomes.append((ids_of(pieces), text_of(pieces), engine.forwards - before))
        assert outcomes[0][:2] == outcomes[1][:2]
        if sampling.temperature == 0:
            assert outcomes[1][2] < outcomes[0][2]


def test_a_small_cache_forgets_and_still_answers(make_model: Callable[..., Path]) -> None:
    small = open_engine(make_model(GROUPED, "q8f16_g32"), EngineOptions(kv_cache_tokens=320))
    prompts = [Prompt(IDS[n : n + 150]) for n in (0, 50, 100, 149)]
    expected = [ids_of(list(small.stream(p, Sampling(max_tokens=8)))) for p in prompts]
    assert [ids_of(list(small.stream(p, Sampling(max_tokens=8)))) for p in reversed(prompts)] == expected[::-1]
    small.close()


def test_a_small_model_leaves_the_other_cores_alone(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path = make_model(GROUPED, "q8f16_g32")
    monkeypatch.setattr(opening, "choose_target", lambda _kind: replace(detect(), n_threads=3))
    for few_bytes, options, told in ((1 << 20, EngineOptions(), 1), (0, EngineOptions(), 3), (1 << 20, EngineOptions(n_threads=2), 2)):  # fmt: skip
        monkeypatch.setattr(opening, "FEW_BYTES", few_bytes)
        engine = open_engine(path, options)
        assert f"{told} thread" in engine.model.device
        engine.close()
