"""The result of a run: a PEFT folder and its manifest, the same bytes for the same training, seen whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialized
from torch import nn

from local_runtime.adapters.peft_folder import CONFIG, MANIFEST, WEIGHTS
from local_runtime.durable_file import sync
from local_runtime.model.model_folder import ModelFolder
from trainer.disk import disk_fault
from trainer.tuning.base import lora_config
from trainer.tuning.checkpoint import UNWRITTEN
from trainer.tuning.recipe import Recipe

NAME = "adapter"
_PACKAGES = ("understudy", "torch", "peft", "transformers", "safetensors", "numpy")


def manifest(model: ModelFolder, recipe: Recipe, corpus_hash: str, parent: str | None, identity: str) -> dict[str, Any]:
    """Where an adapter comes from. No times and no paths: the same training gives the same manifest."""
    return {
        "base_hash": model.base_hash,
        "quantization": model.quantization.name,
        "parent": parent,
        "corpus_hash": corpus_hash,
        "recipe": asdict(recipe),
        "versions": {name: version(name) for name in _PACKAGES},
        "identity": identity,
    }


def write(
    run: Path, weights: dict[str, nn.Parameter], recipe: Recipe, said: dict[str, Any], family: str = "llama"
) -> Path:
    """Write `run/adapter` atomically and return it. Raises DiskFull, RuntimeFault."""
    folder, part = run / NAME, run / (NAME + ".part")
    config = lora_config(recipe, family).to_dict()
    config |= {"target_modules": sorted(config["target_modules"]), "inference_mode": True, "peft_type": "LORA"}
    tensors = {
        name.replace(".default.", "."): weights[name].detach().float().cpu().contiguous() for name in sorted(weights)
    }
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        (part / WEIGHTS).write_bytes(serialized(tensors, {"format": "pt"}))
        (part / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, default=str) + "\n")
        (part / MANIFEST).write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
        for name in (WEIGHTS, CONFIG, MANIFEST):
            (part / name).chmod(0o600)
            sync(part / name)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as problem:
        shutil.rmtree(part, ignore_errors=True)
        raise disk_fault(problem, run, UNWRITTEN) from None
    return folder


def finished(run: Path, identity: str) -> bool:
    """Whether `run/adapter` is there and came of exactly this training."""
    try:
        said = json.loads((run / NAME / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("identity") == identity
