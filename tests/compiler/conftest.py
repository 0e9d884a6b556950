"""Libraries are compiled once for all tests here: a library is the same whoever asks for it."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from running import Compile

from local_runtime.devices.target import Isa, cpu_features, cpu_target
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.tvm.run.library import Library, ensure_library, runtime_environment


@pytest.fixture(scope="session")
def library_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture
def compiled(library_home: Path, monkeypatch: pytest.MonkeyPatch) -> Compile:
    """Compile a decoder, or find it compiled by an earlier test."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(library_home))
    for name, value in runtime_environment(2).items():
        monkeypatch.setenv(name, value)

    def compile_(
        config: DecoderConfig, quantization: str, isa: Isa | None = None, kv_dtype: str = "float16"
    ) -> Library:
        target = cpu_target(cpu_features(), sys.platform, platform.machine(), 2, isa)
        return ensure_library(config, QUANTIZATIONS[quantization], target, kv_dtype)

    return compile_
