"""A real daemon on the mlc_llm engine (MLC's command and server are the stand-in): adapters merged when chosen and at start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import mlc_llm_stand_in
import pytest
from test_mlc_engine import TINY, answer_of, calls, names, write_adapter

from local_runtime.client import lifecycle
from local_runtime.client.client import Client
from local_runtime.engines.protocol import Sampling
from local_runtime.errors import BadRequest, RuntimeFault
from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Hole
from trainer.edits import Example
from trainer.gate.judge import EngineJudge
from trainer.nightly.night import daemon_judge

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOLE = Hole("a.py", "python", "def f(", "\n")


@pytest.fixture
def environment(tmp_path: Path, home: Path) -> Iterator[Path]:
    """The stand-in, a model, an adapter, and settings that name them."""
    command = tmp_path / "env" / "bin" / "mlc_llm"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{sys.executable}\n{Path(mlc_llm_stand_in.__file__).read_text()}")
    command.chmod(0o700)
    config = home / "config"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(f'[runtime]\nengine = "mlc_llm"\nmlc_llm = "{tmp_path / "env"}"\n')
    import_model(write_folder(tmp_path / "source", TINY), QUANTIZATIONS["q4f16_1"], "tiny")
    write_adapter(folder(places().adapters) / "mine", ModelFolder.open(places().models / "tiny").base_hash)
    yield tmp_path / "env"
    lifecycle.kill()


def served_folder(environment: Path) -> Path:
    """What the newest server was started with."""
    return Path([call for call in calls(environment) if call["command"] == "serve"][-1]["arguments"][0])


def test_an_adapter_is_merged_when_it_is_chosen_and_again_served_after_a_restart(environment: Path) -> None:
    with Client() as client:
        health = client.wait_ready()
        assert health.model is not None
        assert health.model.device == "mlc_llm (auto)"
        base = client.complete(HOLE, (), Sampling()).text
        assert base == answer_of(places().models / "tiny")
        client.activate("mine", 0.5)
        mine = client.complete(HOLE, (), Sampling()).text
        assert mine == answer_of(served_folder(environment)) != base
        with pytest.raises(BadRequest, match="scores nothing"):
            client.score(HOLE, "x")
        client.activate(None)
        assert client.complete(HOLE, (), Sampling()).text == base
        client.activate("mine", 0.5)
        client.stop()
    with Client() as client:
        client.wait_ready()
        assert client.complete(HOLE, (), Sampling()).text == mine
    assert names(environment).count("convert_weight") == names(environment).count("compile") == 1


def test_a_night_judges_on_the_compiled_engine(environment: Path) -> None:
    with daemon_judge() as judge:
        scored = judge.score(Example(HOLE, "x)", 0.0), None)
    assert isinstance(judge, EngineJudge)
    assert len(scored.logprobs) == len(scored.greedy) > 0
    assert scored.nats > 0


def test_what_cannot_be_merged_leaves_what_serves(environment: Path) -> None:
    (environment / "bin" / "convert_weight-fails").touch()
    with Client() as client:
        client.wait_ready()
        base = client.complete(HOLE, (), Sampling()).text
        with pytest.raises(RuntimeFault, match="convert_weight was told to fail"):
            client.activate("mine")
        assert client.adapters().active.adapter is None
        assert client.complete(HOLE, (), Sampling()).text == base
        (environment / "bin" / "convert_weight-fails").unlink()
        client.activate("mine")
        client.stop()
    for merged in places().cache.glob("mlc_llm/weights/*/*-1"):
        merged.rename(merged.with_name(".gone"))
    (environment / "bin" / "convert_weight-fails").touch()
    with Client() as client:
        client.wait_ready()
        listed = client.adapters()
        assert listed.active.adapter is None
        assert "convert_weight was told to fail" in (listed.problem or "")
        assert client.complete(HOLE, (), Sampling()).text == base


def test_the_daemon_says_what_fails(environment: Path) -> None:
    (environment / "bin" / "compile-fails").touch()
    with Client() as client, pytest.raises(RuntimeFault, match="compile ended with status 1"):
        client.wait_ready()
