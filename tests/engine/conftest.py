"""Tiny models, compiled once per session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_models import imported

from local_runtime.model.decoder_config import DecoderConfig

Make = Callable[[DecoderConfig, str], Path]


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where libraries, packed weights and models of this session are kept."""
    return tmp_path_factory.mktemp("engine-home")


@pytest.fixture(autouse=True)
def home(session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One home for all tests of the engine, so that each library is compiled once."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(session_home))
    return session_home


@pytest.fixture(scope="session")
def make_model(session_home: Path) -> Iterator[Make]:
    """A function that gives the folder of a random model, imported once."""
    made: dict[tuple[DecoderConfig, str], Path] = {}

    def make(config: DecoderConfig, quantization: str) -> Path:
        key = (config, quantization)
        if key not in made:
            before = os.environ.get("UNDERSTUDY_HOME")
            os.environ["UNDERSTUDY_HOME"] = str(session_home)
            try:
                made[key] = imported(session_home / f"source-{len(made)}", config, quantization, f"m{len(made)}")
            finally:
                if before is None:
                    del os.environ["UNDERSTUDY_HOME"]
                else:
                    os.environ["UNDERSTUDY_HOME"] = before
        return made[key]

    yield make
    shutil.rmtree(session_home, ignore_errors=True)
