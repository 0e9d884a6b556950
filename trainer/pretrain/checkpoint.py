"""A run's state in one safetensors file: weights, both optimisers, and where it stands. No pickle."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from local_runtime.errors import ModelMissing
from trainer.pretrain.decoder import Decoder, Shape
from trainer.pretrain.optimizer import Cooldown, Optimizer

NAME = "checkpoint.safetensors"
STABLE_NAME = "before-cooldown.safetensors"
"""The checkpoint at the full rate: where a later sitting goes on, since a cooled model learns more slowly."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is needed, besides tensors, to go on."""

    shape: Shape
    seed: int
    samples_per_step: int
    step: int
    n_tokens: int
    """Tokens trained on so far, padding not counted."""
    seconds: float
    """Time spent in steps so far, waiting for the processor included."""
    cooldown: Cooldown | None = None


def save(folder: Path, model: Decoder, optimizer: Optimizer, standing: Standing) -> None:
    """Write atomically: a kill leaves the checkpoint before."""
    tensors = {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}
    for kind, state in optimizer.state().items():
        for number, slots in state["state"].items():
            tensors |= {f"{kind}.{number}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    part = folder / (NAME + ".part")
    save_file(
        {name: t.contiguous().cpu() for name, t in tensors.items()}, part, {"standing": json.dumps(asdict(standing))}
    )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(folder / NAME)


def keep_stable(folder: Path) -> None:
    """Keep the last checkpoint, too, as the one before the cool-down."""
    part = folder / (STABLE_NAME + ".part")
    shutil.copyfile(folder / NAME, part)
    part.replace(folder / STABLE_NAME)


def return_to_stable(folder: Path) -> None:
    """Make the checkpoint before the cool-down the last one again, if there is one."""
    if (folder / STABLE_NAME).exists():
        shutil.copyfile(folder / STABLE_NAME, folder / (NAME + ".part"))
        (folder / (NAME + ".part")).replace(folder / NAME)


def standing(folder: Path) -> Standing:
    """Where the run in `folder` stands. Raises ModelMissing."""
    if not (folder / NAME).exists():
        raise ModelMissing(f"{folder / NAME} is not there", "python -m trainer.pretrain train")
    with safe_open(folder / NAME, "pt") as file:
        said = json.loads(file.metadata()["standing"])
    said["shape"] = Shape(**said["shape"])
    said["cooldown"] = Cooldown(**said["cooldown"]) if said["cooldown"] else None
    return Standing(**said)


def load(folder: Path, model: Decoder, optimizer: Optimizer | None = None) -> None:
    """Put the checkpoint's tensors into `model` and, to go on training, into `optimizer`."""
    states: dict[str, dict[int, dict[str, Any]]] = {"muon": {}, "adamw": {}}
    with safe_open(folder / NAME, "pt") as file, torch.no_grad():
        weights = dict(model.named_parameters())
        for key in file.keys():  # noqa: SIM118  not a dict
            kind, _, name = key.partition(".")
            if kind == "model":
                weights[name].copy_(file.get_tensor(key))
            else:
                number, slot = name.split(".")
                states[kind].setdefault(int(number), {})[slot] = file.get_tensor(key)
    if optimizer:
        whole = optimizer.state()
        for kind, state in states.items():
            whole[kind]["state"] = state
        optimizer.load(whole)
