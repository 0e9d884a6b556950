"""A run's state in one safetensors file: the adapter, the optimiser, the random numbers, and where it stands. No pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized  # its own way to write a file hides the system's error number
from torch import nn

from local_runtime.durable_file import write_durably
from trainer.disk import disk_fault
from trainer.tuning.faults import TrainingFailed

NAME = "state.safetensors"
UNWRITTEN = "the run could not be written: "


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
    """Write atomically: a kill leaves the checkpoint before. Raises DiskFull, RuntimeFault."""
    tensors = {f"adapter.{name}": weight.detach() for name, weight in weights.items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{number}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    content = serialized(
        {k: v.contiguous().cpu() for k, v in tensors.items()}, {"standing": json.dumps(asdict(standing))}
    )
    try:
        write_durably(folder / NAME, content)
    except OSError as problem:
        raise disk_fault(problem, folder, UNWRITTEN) from None


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
