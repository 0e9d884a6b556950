"""The tests' own model: importable, of the layout that prompts have, small, and described by its card."""

from __future__ import annotations

import json
from pathlib import Path

import tiny_model
from safetensors import safe_open

from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import FimTokenizer

MAX_WEIGHTS_BYTES = 95_000_000


def test_it_is_imported_once(home: Path) -> None:
    assert registry.names() == []
    name = tiny_model.ensure_imported()
    model = ModelFolder.open(registry.find(name))
    written = registry.find(name).stat().st_mtime_ns
    assert tiny_model.ensure_imported() == name
    assert registry.names() == [tiny_model.NAME]
    assert registry.find(name).stat().st_mtime_ns == written
    assert model.quantization.name == "q8f16_g32"
    assert model.config.tied_embeddings
    assert model.config.context_tokens == 2048
    assert FimTokenizer.open(model.path).family.name == "understudy"
    assert home in registry.find(name).parents


def test_the_kernels_like_its_shape() -> None:
    config = json.loads((tiny_model.FOLDER / "config.json").read_text())
    assert config["head_dim"] == 64
    assert config["hidden_size"] % 32 == config["intermediate_size"] % 32 == 0
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0


def test_the_weights_are_small_bf16_and_whole() -> None:
    path = tiny_model.FOLDER / "model.safetensors"
    assert path.stat().st_size < MAX_WEIGHTS_BYTES
    with safe_open(path, "np") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  not a dict
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    assert kinds == {"BF16"}


def test_the_card_tells_the_training_and_what_it_is_for() -> None:
    card = (tiny_model.FOLDER / "MODEL.md").read_text()
    training = json.loads((tiny_model.FOLDER / "training.json").read_text())
    assert f"{training['step']:,} steps" in card
    assert f"{training['n_tokens'] / 1e6:.2f} million tokens" in card
    assert "test fixture" in card
