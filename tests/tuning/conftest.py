"""Tiny models with random weights, imported once, and examples of a small project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.prompts.hole import Chunk, Hole
from trainer.edits import Example

TINY = DecoderConfig("llama", 64, 96, 2, 2, 1, 32, 320, 384, tied_embeddings=True)
Make = Callable[[DecoderConfig, str], ModelFolder]


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning-home")


@pytest.fixture(autouse=True)
def home(session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One home for all, so that each model is imported once."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(session_home))
    return session_home


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products gain nothing from a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_model(session_home: Path) -> Make:
    made: dict[tuple[DecoderConfig, str], ModelFolder] = {}

    def make(config: DecoderConfig = TINY, quantization: str = "q8f16_g32") -> ModelFolder:
        key = (config, quantization)
        if key not in made:
            os.environ["UNDERSTUDY_HOME"] = str(session_home)
            source = write_folder(session_home / f"source-{len(made)}", config)
            made[key] = ModelFolder.open(import_model(source, QUANTIZATIONS[quantization], f"m{len(made)}"))
        return made[key]

    return make


@pytest.fixture(scope="session")
def model(make_model: Make) -> ModelFolder:
    return make_model(TINY, "q8f16_g32")


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    return some_examples(12)


def some_examples(n: int) -> list[Example]:
    """Holes that all end alike, so that a few steps teach something."""
    chunk = Chunk("shop/prices.py", "def price_of(item: str) -> float:\n    return PRICES[item]\n")
    return [
        Example(
            Hole("shop/cart.py", "python", f"import shop\n\n\ndef total_{n}(items):\n    ", "\n\n\nlast = 1\n"),
            f"return sum(price_of(item) for item in items) * {n}",
            1.7e9 + n,
            chunks=(chunk,) if n % 2 else (),
        )
        for n in range(n)
    ]
