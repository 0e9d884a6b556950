"""Copying from nearby, the benchmark's baseline, does what it says: a weak one would flatter the model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def model_quality() -> Iterator[ModuleType]:
    path = Path(__file__).parents[2] / "benchmarks" / "model_quality.py"
    spec = importlib.util.spec_from_file_location("model_quality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_copying_takes_what_followed_the_longest_match(model_quality: ModuleType) -> None:
    prefix = "self.width = config.width\nself.height = config.height\n\nself.width = "
    assert model_quality.copied_line(prefix, "") == "config.width"
    assert model_quality.copied_line("a.call(", "b = a.call(7)\n") == "7)"
    assert model_quality.copied_line("nothing like it", "") == ""
