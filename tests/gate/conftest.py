"""One tiny model, compiled once, and one home for all tests of the gate that need it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gate_worlds import TINY

from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from trainer.gate.judge import EngineJudge


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose one model is called `tiny`."""
    home = tmp_path_factory.mktemp("gate-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(home))
        import_model(write_folder(home / "source", TINY), QUANTIZATIONS["q8f16_g32"], "tiny")
    return home


@pytest.fixture
def home_with_model(tmp_path: Path, tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with the session's model in it."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(tiny_home / "data" / "models")
    monkeypatch.setenv("UNDERSTUDY_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def tiny_model(tiny_home: Path) -> ModelFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tiny_home))
        return ModelFolder.open(tiny_home / "data" / "models" / "tiny")


@pytest.fixture(scope="session")
def engine(tiny_home: Path) -> Iterator[CompiledEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tiny_home))
        opened = open_engine("tiny", EngineOptions(kv_cache_tokens=4096, n_threads=1))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def engine_judge(engine: CompiledEngine) -> EngineJudge:
    assert engine.model.folder is not None
    return EngineJudge(engine, FimTokenizer.open(engine.model.folder))
