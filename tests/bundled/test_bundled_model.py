"""The folder that ships: importable, of the layout that prompts have, small, and described by its card."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

from local_runtime import bundled
from local_runtime.fim import FimTokenizer
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from trainer.pretrain import corpus

MAX_WEIGHTS_BYTES = 95_000_000


def test_it_is_imported_once(home: Path) -> None:
    assert registry.names() == []
    name = bundled.ensure_imported()
    model = ModelFolder.open(registry.find(name))
    written = registry.find(name).stat().st_mtime_ns
    assert bundled.ensure_imported() == name
    assert registry.names() == [bundled.NAME]
    assert registry.find(name).stat().st_mtime_ns == written
    assert model.quantization.name == "q8f16_g32"
    assert model.config.tied_embeddings
    assert model.config.context_tokens == 2048
    assert FimTokenizer.open(model.path).family.name == "understudy"
    assert home in registry.find(name).parents


def test_the_kernels_like_its_shape() -> None:
    config = json.loads((bundled.FOLDER / "config.json").read_text())
    assert config["head_dim"] == 64
    assert config["hidden_size"] % 32 == config["intermediate_size"] % 32 == 0
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0


def test_the_weights_are_small_bf16_and_whole() -> None:
    path = bundled.FOLDER / "model.safetensors"
    assert path.stat().st_size < MAX_WEIGHTS_BYTES
    with safe_open(path, "np") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  not a dict
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    assert kinds == {"BF16"}


def test_every_hole_fits_a_prompt() -> None:
    fim = FimTokenizer.open(bundled.FOLDER)
    holes = bundled.general_holes()
    for one in holes[::10]:
        prompt = fim.prompt(one.hole)
        assert 0 < len(prompt.token_ids) < 2048
        assert fim.target(prompt, one.middle)[-1] == fim.end_id
    assert len(holes) == len({(h.hole.path, len(h.hole.prefix), h.hole.prefix[-80:], h.middle) for h in holes})


def test_the_card_names_every_source_and_tells_the_training() -> None:
    card = (bundled.FOLDER / "MODEL.md").read_text()
    training = json.loads((bundled.FOLDER / "training.json").read_text())
    manifest = json.loads(corpus.MANIFEST.read_text())["packages"]
    for entry in manifest:
        package = entry["package"]
        if entry["kept"]:
            assert f"{package['name']} {package['version']} ({package['licence']})" in card
    assert f"{training['step']:,} steps" in card
    assert f"{training['n_tokens'] / 1e6:.2f} million tokens" in card
