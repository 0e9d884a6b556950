"""A run's state in one safetensors file: the adapter, the optimiser, the random numbers, and where it stands. No pickle."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from trainer.tuning.faults import TrainingFailed

NAME = "state.safetensors"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is needed, besides tensors, to go on."""

    identity: str
    """Hash of everything that decides the result: a run goes on only if it is the same."""
    step: int = 0
    n_tokens: int = 0
    seconds: float = 0.0
    """Spent in steps so far."""
    peak_bytes: int = 0


def save(folder: Path, weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, standing: Standing) -> None:
    """Write atomically: a kill leaves the checkpoint before. Raises TrainingFailed when the disk is full."""
    tensors = {f"adapter.{name}": weight.detach() for name, weight in weights.items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{number}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    part = folder / (NAME + ".part")
    try:
        save_file(
            {k: v.contiguous().cpu() for k, v in tensors.items()}, part, {"standing": json.dumps(asdict(standing))}
        )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(folder / NAME)
    except (OSError, SafetensorError) as problem:
        part.unlink(missing_ok=True)
        raise disk_fault(folder, problem) from None


def load(folder: Path, weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> Standing:
    """Put the checkpoint's tensors in place. Raises TrainingFailed if the file is damaged."""
    state: dict[int, dict[str, Any]] = {}
    try:
        with safe_open(folder / NAME, "pt") as file, torch.no_grad():
            standing = Standing(**json.loads(file.metadata()["standing"]))
            for key in file.keys():  # noqa: SIM118 - not a dict
                kind, _, name = key.partition(".")
                value = file.get_tensor(key)
                if kind == "adapter":
                    weights[name].copy_(value)
                elif kind == "moments":
                    number, slot = name.split(".")
                    state.setdefault(int(number), {})[slot] = value
                elif name == "cpu":
                    torch.set_rng_state(value)
                elif torch.cuda.is_available():
                    torch.cuda.set_rng_state(value)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        raise TrainingFailed(f"{folder / NAME}: {problem}", f"rm {folder / NAME}: the run then begins anew") from None
    whole = optimizer.state_dict()
    whole["state"] = state
    optimizer.load_state_dict(whole)
    return standing


def standing_of(folder: Path) -> Standing | None:
    """Where the run in `folder` stands; None without a checkpoint, or with one that cannot be read."""
    try:
        with safe_open(folder / NAME, "pt") as file:
            return Standing(**json.loads(file.metadata()["standing"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def disk_fault(folder: Path, problem: Exception) -> TrainingFailed:
    """What to say when a run cannot write."""
    full = getattr(problem, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(problem)
    reason = "the disk is full" if full else str(problem)
    return TrainingFailed(f"{folder}: the run could not be written: {reason}", "make room, then the same command again")
