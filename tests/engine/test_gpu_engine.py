"""The GPUs' graph, compiled for this CPU in float32 and driven by the real engine: numerics, laws, caches.

What runs here is what runs on a device, but for the schedules: the same graph, TVM's paged KV cache, the same engine.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_laws import AdapterLaws, Subject, ids_of, logprobs_of
from small_models import FAMILIES, GROUPED, engine_logits, reference, reference_logits, with_adapter, write_adapter

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.devices.target import CUDA, HOST, METAL, choose_target
from local_runtime.engines.protocol import Adapter, Prompt, Sampling
from local_runtime.errors import BuildFailed, LibraryStale, OutOfMemory
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.device import Device
from local_runtime.tvm.run.library import Library, find_library
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from local_runtime.tvm.run.runtime import Runtime

Make = Callable[[DecoderConfig, str], Path]
ON_HOST = EngineOptions(kv_cache_tokens=2048, target=HOST)
IDS = tuple(int(i) for i in np.random.default_rng(3).integers(10, 300, 300))
EXACT = 1e-4
"""Of float32 logits, whose spread is near 1; sums are formed in another order."""


@pytest.fixture(scope="module")
def engine(make_model: Make, session_home: Path) -> CompiledEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(session_home))
        return open_engine(make_model(GROUPED, "q4f16_1"), ON_HOST)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    root = tmp_path_factory.mktemp("adapters")
    return [read_adapter(write_adapter(root / str(seed), GROUPED, seed=seed)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def library(engine: CompiledEngine, session_home: Path) -> Library:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(session_home))
        found = find_library(GROUPED, QUANTIZATIONS["q4f16_1"], choose_target(HOST))
    assert found is not None
    return found


def written(engine: CompiledEngine, ids: tuple[int, ...], adapter: Adapter | None = None, n: int = 24) -> list[int]:
    stream = engine.stream(Prompt(ids), Sampling(max_tokens=n), adapter)
    return [i for piece in stream for i in piece.token_ids]


class TestLaws(AdapterLaws):
    @pytest.fixture
    def subject(self, engine: CompiledEngine, adapters: list[Adapter]) -> Subject:
        def decode(ids: tuple[int, ...]) -> str:
            text = b"".join(engine._vocabulary.token_bytes[i] for i in ids)
            return codecs.getincrementaldecoder("utf-8")("replace").decode(text)

        return Subject(engine, (Prompt(IDS[:20]), Prompt(IDS)), lambda: engine.forwards, decode, adapters[0])

    # Two laws in a weaker form: one row and many have schedules of their own, so what was computed in another number of rows
    # differs in its last bits, and two tokens as likely as each other could change places.

    def test_speculation_never_changes_the_answer(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            plain, drafted = (
                list(subject.engine.stream(prompt, Sampling(max_tokens=48, speculate=speculate)))
                for speculate in (False, True)
            )
            assert ids_of(plain) == ids_of(drafted)
            assert logprobs_of(plain) == pytest.approx(logprobs_of(drafted), abs=EXACT)

    def test_an_adapter_serves_only_who_asked(self, subject: Subject) -> None:
        def said(prompt: Prompt, adapter: Adapter | None, strength: float) -> list[float]:
            stream = subject.engine.stream(prompt, Sampling(max_tokens=12), adapter, strength)
            return [x for piece in stream for x in piece.logprobs]

        for prompt in subject.prompts:
            base, tuned = said(prompt, None, 1.0), said(prompt, subject.adapter, 1.0)
            assert np.abs(np.array(base) - np.array(tuned)).max() > 100 * EXACT
            assert said(prompt, None, 1.0) == pytest.approx(base, abs=EXACT)
            assert said(prompt, subject.adapter, 1.0) == pytest.approx(tuned, abs=EXACT)
            assert said(prompt, subject.adapter, 0.0) == pytest.approx(base, abs=EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_that_of_transformers_and_peft(family: str, make_model: Make, tmp_path: Path) -> None:
    """int4 weights against what they stand for, in float32, and an adapter of another rank than the library's."""
    config = FAMILIES[family]
    folder, ids = make_model(config, "q4f16_1"), IDS[: config.sliding_window - 1 if config.sliding_window else 140]
    engine, decoder = open_engine(folder, ON_HOST), reference(folder)
    base = engine_logits(engine, ids)
    assert np.abs(base - reference_logits(decoder, ids)).max() < EXACT
    path = write_adapter(tmp_path / "adapter", config, rank=8, size=0.05)
    adapted = engine_logits(engine, ids, read_adapter(path))
    assert np.abs(adapted - reference_logits(with_adapter(decoder, path), ids)).max() < EXACT
    assert np.abs(adapted - base).max() > 1e-2


@pytest.mark.parametrize("quantization", ["q0f16", "q8f16_g32"])
def test_other_weights(quantization: str, make_model: Make) -> None:
    folder = make_model(GROUPED, quantization)
    ours = engine_logits(open_engine(folder, ON_HOST), IDS[:100])
    assert np.abs(ours - reference_logits(reference(folder), IDS[:100])).max() < EXACT


def test_wide_and_partial_adapters_are_those_of_peft(engine: CompiledEngine, tmp_path: Path) -> None:
    assert engine.model.folder is not None
    for n, options in enumerate(({"rank": 64, "use_rslora": True}, {"rank": 3, "targets": ("v_proj", "up_proj")})):
        path = write_adapter(tmp_path / str(n), GROUPED, size=0.05, **options)
        theirs = reference_logits(with_adapter(reference(engine.model.folder), path), IDS[:60])
        assert np.abs(engine_logits(engine, IDS[:60], read_adapter(path)) - theirs).max() < EXACT


def test_greedy_text_and_scores_are_those_of_transformers(engine: CompiledEngine) -> None:
    assert engine.model.folder is not None
    decoder, prompt, target = reference(engine.model.folder), IDS[:40], IDS[40:75]
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    theirs = decoder.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, 40), **options)
    assert written(engine, prompt) == theirs[0, 40:].tolist()
    scored = [x for piece in engine.score(Prompt(prompt), target) for x in piece.logprobs]
    expected = torch.log_softmax(torch.tensor(reference_logits(decoder, prompt + target)), -1)
    assert scored == pytest.approx([float(expected[39 + n, i]) for n, i in enumerate(target)], abs=EXACT)


def test_however_computed_logits_agree(engine: CompiledEngine, adapters: list[Adapter]) -> None:
    for adapter in (None, adapters[0]):
        whole = engine_logits(engine, IDS[:120], adapter)
        for chunk in (1, 17, 64):
            assert np.abs(engine_logits(engine, IDS[:120], adapter, chunk=chunk) - whole).max() < EXACT


def test_rewound_and_forked_states_agree(engine: CompiledEngine) -> None:
    fresh, bound = engine_logits(engine, IDS[:100]), engine.adapters.bind(None)

    def tail(sequence: object, start: int, end: int) -> float:
        found = engine._forward(sequence, IDS[start:end], bound, 0.0, every_row=True)  # type: ignore[arg-type]
        return float(np.abs(found.logits - fresh[start:end]).max())

    with engine._sequence(Prompt(IDS[200:201]), None, 1.0) as sequence:
        engine._sequences.rewind(sequence, 0)
        engine._forward(sequence, IDS[:70], bound, 0.0)
        engine._forward(sequence, IDS[200:220], bound, 0.0)
        engine._sequences.rewind(sequence, 70)
        assert tail(sequence, 70, 100) < EXACT
        fork = engine._sequences.acquire(sequence.key, (*IDS[:50], 1))
        deeper = engine._sequences.acquire(sequence.key, (*IDS[:33], 2))
        assert (fork.n_tokens, deeper.n_tokens) == (50, 33)
        assert tail(fork, 50, 100) < EXACT
        engine._sequences.rewind(fork, 20)  # into what it shares
        assert tail(fork, 20, 60) < EXACT
        assert tail(deeper, 33, 100) < EXACT
        engine._sequences.rewind(sequence, 99)
        assert tail(sequence, 99, 100) < EXACT
        engine._sequences.release(fork)
        engine._sequences.release(deeper)


def test_forks_of_forks_to_any_depth(engine: CompiledEngine) -> None:
    fresh, bound = engine_logits(engine, IDS[:120]), engine.adapters.bind(None)
    pages = engine._runtime.pages
    engine._sequences.clear()  # nobody makes room here
    tables = [pages.table()]
    engine._runtime.prefill(tables[0], IDS[:40], bound.parameters, 0.0)
    tables[0].n_tokens = 40
    for n in range(6):
        fork = pages.fork(tables[-1], 30 + 10 * n)
        rows = engine._runtime.verify(fork, IDS[30 + 10 * n : 50 + 10 * n], bound.parameters, 0.0)
        fork.n_tokens += 20
        assert np.abs(rows.logits - fresh[30 + 10 * n : 50 + 10 * n]).max() < EXACT
        tables.append(fork)
    for table in tables:
        pages.free(table)


def test_strength_zero_is_the_base_bit_for_bit(engine: CompiledEngine, adapters: list[Adapter]) -> None:
    base = engine_logits(engine, IDS[:100])
    assert np.array_equal(engine_logits(engine, IDS[:100], adapters[0], 0.0), base)
    half = engine_logits(engine, IDS[:100], adapters[0], 0.5)
    assert np.abs(half - base).max() > 1e-2
    assert np.abs(half - engine_logits(engine, IDS[:100], adapters[0], 1.0)).max() > 1e-2


def test_typing_on_reuses_what_is_there(engine: CompiledEngine) -> None:
    first = written(engine, IDS[:200])
    before, reused = engine.prefilled_tokens, engine.reused_tokens
    assert written(engine, (*IDS[:199], 11)) == written(engine, (*IDS[:199], 11))
    assert written(engine, IDS[:200]) == first
    assert engine.prefilled_tokens - before == 3
    assert engine.reused_tokens - reused == 3 * 199


def test_a_full_cache_evicts_then_says_so_and_leaks_nothing(make_model: Make) -> None:
    small = open_engine(make_model(GROUPED, "q4f16_1"), EngineOptions(kv_cache_tokens=256, target=HOST))
    used, n_pages = small.kv_pages
    assert used == 0
    for start in range(0, 200, 20):
        written(small, IDS[start : start + 100], n=4)
    streams = [small.stream(Prompt(IDS[n : n + 100]), Sampling(max_tokens=90)) for n in (0, 50)]
    with pytest.raises(OutOfMemory, match="KV cache is full"):
        for pieces in zip(*streams, strict=False):
            assert pieces
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    small._sequences.clear()
    assert small.kv_pages == (0, n_pages)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac links its own")
def test_auto_takes_the_cpu_where_the_device_cannot_be_used(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_runtime.devices.target.best_kind", lambda: METAL)
    monkeypatch.setattr("local_runtime.devices.target.is_proven", lambda _kind: True)
    folder, phases = make_model(GROUPED, "q4f16_1"), []
    engine = open_engine(folder, EngineOptions(kv_cache_tokens=512), phases.append)
    assert engine.model.device.startswith("cpu")
    assert any("metal cannot be used" in phase for phase in phases)
    with pytest.raises(BuildFailed, match="linked on a Mac"):
        open_engine(folder, EngineOptions(target=METAL))


def test_a_library_for_another_target_is_refused_in_a_sentence(library: Library) -> None:
    with pytest.raises(LibraryStale, match=r"was built for host, and is asked to run on cuda"):
        Device(CUDA).load(library)
    with pytest.raises(LibraryStale, match=r"was built for host, and is asked to run on the cpu"):
        Runtime(library, GROUPED, (np.zeros((1, 16), np.float32),) * 2, 1, 1)
