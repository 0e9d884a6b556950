"""Both judges on a real, compiled model: they say the same, and what breaks a model is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_worlds import TINY, general, hunks, write_adapter
from safetensors.numpy import load_file, save_file

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.adapters.shelf import Choice
from local_runtime.client.client import Client
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places
from local_runtime.prompts.hole import Chunk, Hole
from trainer.adapters.versions import Versions
from trainer.edits import Example, Verdict
from trainer.gate.gate import judge
from trainer.gate.judge import DaemonJudge, EngineJudge
from trainer.gate.pool import halves
from trainer.gate.thresholds import THRESHOLDS

LONG = Example(Hole("long.py", "python", "x = 1\n" * 400, "y = 2\n" * 200), "z = " + "f(x) + " * 70, 1.0, edit_id=1)
RELATED = Example(
    Hole("a.py", "python", "import b\n\nb.", "\n"),
    "helper(1)",
    1.0,
    chunks=(Chunk("b.py", "def helper(x):\n    pass\n"),),
)


@pytest.fixture(autouse=True)
def home(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the model, where its daemon looks, in place of one per test."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tiny_home))
    return tiny_home


@pytest.fixture
def staged(tiny_model: ModelFolder, tmp_path: Path) -> Adapter:
    """A random adapter that the daemon can load by name."""
    versions = Versions(base_hash=tiny_model.base_hash)
    source = write_adapter(tmp_path / "run", tiny_model.base_hash, seed=3, size=0.2)
    return versions.adapter(versions.stage(source.path))


@pytest.fixture(scope="module")
def client(tiny_home: Path) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tiny_home))
        with Client("test") as client:
            try:
                client.wait_ready()
                yield client
            finally:
                client.stop()


def test_an_adapter_changes_what_is_scored_and_strength_scales_it(engine_judge: EngineJudge, staged: Adapter) -> None:
    one = hunks(1)[0]
    base = engine_judge.score(one, None)
    assert engine_judge.score(one, staged, 0.0) == base
    assert (
        engine_judge.score(one, staged, 1.0).logprobs != engine_judge.score(one, staged, 0.4).logprobs != base.logprobs
    )
    assert len(base.logprobs) == len(base.greedy) > 2
    assert all(logprob < 0 for logprob in base.logprobs)


def test_a_target_longer_than_its_room_is_scored_whole(engine_judge: EngineJudge) -> None:
    assert len(engine_judge.score(LONG, None).logprobs) > 300


def test_figures_are_those_of_the_compiled_model(engine_judge: EngineJudge, staged: Adapter) -> None:
    verdict = judge(staged, Choice(), hunks(50), general(10), engine_judge)
    half = halves(hunks(50))[1]
    for who, adapter in (("base", None), ("candidate", staged)):
        scores = [engine_judge.score(one, adapter, verdict.strength if adapter else 1.0) for one in half]
        n_bytes = sum(len(one.middle.encode()) for one in half)
        assert verdict.metrics[f"{who}.loss"] == pytest.approx(sum(score.nats for score in scores) / n_bytes)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 3e4])
def test_poisoned_weights_are_refused_by_a_real_model(
    engine_judge: EngineJudge, tiny_model: ModelFolder, tmp_path: Path, poison: float
) -> None:
    source = write_adapter(tmp_path / "run", tiny_model.base_hash, seed=5)
    file = source.path / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values()))[0, 0] = poison
    save_file(tensors, file)
    candidate = read_adapter(source.path) if math.isfinite(poison) else source  # the others are refused at reading
    verdict = judge(candidate, Choice(), hunks(50), general(10), engine_judge)
    assert not verdict.promote
    assert "went wrong" in verdict.reasons[0]


@pytest.mark.e2e
@pytest.mark.parametrize("example", [*hunks(2), RELATED, LONG], ids=lambda one: one.middle[:8])
def test_the_daemon_says_what_the_engine_says(
    client: Client, engine_judge: EngineJudge, staged: Adapter, example: Example
) -> None:
    asked = DaemonJudge(client)
    assert asked.base_hash == engine_judge.base_hash
    for adapter, strength in ((None, 1.0), (staged, 1.0), (staged, 0.6)):
        own = engine_judge.score(example, adapter, strength)
        assert asked.score(example, adapter, strength) == own
        assert asked.complete(example, adapter, strength).text == engine_judge.complete(example, adapter, strength).text
    assert client.adapters().active.adapter is None  # naming it does not make it serve


@pytest.mark.e2e
def test_a_whole_judgement_through_the_daemon_is_that_of_the_engine(
    client: Client, engine_judge: EngineJudge, staged: Adapter
) -> None:
    served = Choice("other", write_adapter(staged.path.parent / "other", staged.base_hash, seed=8, size=0.2), 0.5)
    untimed = replace(THRESHOLDS, latency_ratio=math.inf)  # how long a token takes is not the same twice
    asked, own = (
        judge(staged, served, hunks(50), general(5), one, thresholds=untimed)
        for one in (DaemonJudge(client), engine_judge)
    )
    assert asked.promote == own.promote
    assert {k: v for k, v in asked.metrics.items() if "ms_per" not in k} == {
        k: v for k, v in own.metrics.items() if "ms_per" not in k
    }


@pytest.mark.e2e
def test_the_daemon_takes_up_what_is_promoted_and_rolled_back(
    client: Client, tiny_model: ModelFolder, tmp_path: Path
) -> None:
    versions = Versions(base_hash=tiny_model.base_hash)
    hole = hunks(1)[0]
    base = client.score(hole.hole, hole.middle).logprobs
    names, logprobs = [], []
    for seed in (21, 22):
        source = write_adapter(tmp_path / f"run-{seed}", tiny_model.base_hash, seed=seed, size=0.2)
        names.append(versions.promote(versions.stage(source.path), Verdict(True, ("Yes.",), 0.7)))
        active = client.adapters().active
        assert (active.adapter, active.strength) == (names[-1], 0.7)
        logprobs.append(client.score(hole.hole, hole.middle).logprobs)
    assert base != logprobs[0] != logprobs[1]
    versions.rollback()
    assert versions.current().name == names[0]
    assert client.score(hole.hole, hole.middle).logprobs == logprobs[0]
    versions.delete(names)
    assert client.adapters().active.adapter is None
    assert client.score(hole.hole, hole.middle).logprobs == base


@pytest.mark.e2e
def test_choosing_for_another_base_leaves_what_the_daemon_serves(
    client: Client, staged: Adapter, tiny_model: ModelFolder
) -> None:
    name = staged.path.relative_to(places().adapters).as_posix()
    mine = Versions(base_hash=tiny_model.base_hash).serving
    assert mine.select(name, 0.5)  # told to the daemon
    assert not Versions(base_hash="f" * 64).serving.select(None)  # only remembered
    active = client.adapters().active
    assert (active.adapter, active.strength) == (name, 0.5)
    assert mine.select(None)


@pytest.mark.e2e
def test_another_adapter_under_that_name_is_noticed(client: Client, staged: Adapter, tiny_model: ModelFolder) -> None:
    asked = DaemonJudge(client)
    asked.score(RELATED, staged)
    write_adapter(staged.path, tiny_model.base_hash, seed=99, size=0.2)
    with pytest.raises(AdapterInvalid, match="the daemon answered with adapter"):
        asked.score(RELATED, staged)
    Versions(base_hash=tiny_model.base_hash).delete([staged.path.relative_to(places().adapters).as_posix()])


def test_an_adapter_outside_the_adapters_folder_is_not_asked_for(
    client: Client, tiny_model: ModelFolder, tmp_path: Path
) -> None:
    outside = write_adapter(tmp_path / "outside", tiny_model.base_hash)
    with pytest.raises(AdapterInvalid, match="is not below"):
        DaemonJudge(client).score(RELATED, outside)


def test_the_tiny_model_is_the_one_that_adapters_are_made_for(tiny_model: ModelFolder) -> None:
    assert tiny_model.config == TINY
