"""Adapters of the served model that visibly say something else: random matrices, as loud as it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from local_runtime.client.client import Ask, Client
from local_runtime.engines.protocol import Sampling
from local_runtime.places import places
from local_runtime.prompts.hole import Hole

RANK = 4
LOUDNESS = tuple(product((0.08, 0.12, 0.18, 0.25), (7, 8, 9)))
"""Standard deviations of the matrices' entries (too small changes nothing, too large says nonsense), and seeds."""
ENOUGH = 3


def other_voices(model: Path, hole: Hole) -> list[str]:
    """Write adapters until some of them begin the hole with another word than the base model does; their names."""
    found: list[str] = []
    with Client("test") as client:
        client.wait_ready()
        base = _first_word(client, hole, "base")
        for n, (size, seed) in enumerate(LOUDNESS):
            name = f"voice-{n}"
            _write(places().adapters / name, model, size, seed)
            if _first_word(client, hole, name) not in ("", base):
                found.append(name)
            if len(found) == ENOUGH:
                break
    return found


def _first_word(client: Client, hole: Hole, adapter: str) -> str:
    text = client.complete(hole, sampling=Sampling(max_tokens=16), ask=Ask(adapter=adapter)).text.split("\n")[0]
    word = re.search(r"\w{3,}", text)
    return word[0] if word else ""


def _write(folder: Path, model: Path, size: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for name, (n_out, n_in) in _shapes(model):
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = _random(random, (RANK, n_in), size)
        tensors[f"{module}.lora_B.weight"] = _random(random, (n_out, RANK), size)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["down_proj"], "bias": "none"}
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(tensors, folder / "adapter_model.safetensors")


def _shapes(model: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if name.endswith("down_proj.weight"):
                    yield name, tuple(tensors.get_slice(name).get_shape())


def _random(random: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (random.standard_normal(shape) * size).astype(np.float32)
