"""Which device trains, in which precision: what the machine has, and what fits into its free memory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psutil
import torch

from local_runtime.durable_file import write_durably
from local_runtime.model.model_folder import ModelFolder
from trainer.tuning.base import Placement
from trainer.tuning.recipe import Moments, Precision, Recipe

FREE_SHARE = 0.8
"""Training plans with so much of what is free."""


def place(model: ModelFolder, recipe: Recipe, device: str | None = None) -> Placement:
    """The recipe's placement on `device` (default: CUDA, else MPS, else the CPU).

    Where the recipe leaves it open: a float base if it fits into the free memory, else activations are computed twice, else
    the base is NF4.
    """
    from trainer.tuning.memory import estimate_bytes  # noqa: PLC0415 - it measures placements

    device = device or best_device()
    dtype = _dtype(device)
    eight_bit = recipe.moments is Moments.EIGHT_BIT or (recipe.moments is Moments.AUTO and device == "cuda")
    nf4 = recipe.precision is Precision.NF4
    plain = Placement(device, dtype, nf4, eight_bit, bool(recipe.checkpointing))
    choices = [plain]
    if recipe.checkpointing is None:
        choices.append(Placement(device, dtype, nf4, eight_bit, True))
    if recipe.precision is Precision.AUTO:
        choices.append(Placement(device, dtype, True, eight_bit, recipe.checkpointing is not False))
    free = free_bytes(device) * FREE_SHARE
    fitting = (one for one in choices if sum(estimate_bytes(model, recipe, one).values()) <= free)
    return next(fitting, choices[-1])


def place_once(file: Path, model: ModelFolder, recipe: Recipe) -> Placement:
    """As `place`, kept in `file`: a run that goes on later, with more or less memory free, stays where and what it was."""
    device = best_device()
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.MsgspecError):
        kept = None
    if kept is None or kept.device != device:
        found = place(model, recipe, device)
        kept = _Kept(
            found.device, found.dtype == torch.bfloat16, found.nf4, found.eight_bit_moments, found.checkpointing
        )
        write_durably(file, msgspec.json.encode(kept))
    return Placement(
        kept.device,
        torch.bfloat16 if kept.bfloat16 else torch.float32,
        kept.nf4,
        kept.eight_bit_moments,
        kept.checkpointing,
    )


def holds_memory(placement: Placement) -> bool:
    """Whether a process that stands still there keeps memory from its user, which only its end gives back.

    What lies in a CPU's memory is swapped out; what lies in an accelerator's, or is wired for one, is not.
    """
    return placement.device != "cpu"


def best_device() -> str:
    """`cuda`, `mps` or `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class _Kept(msgspec.Struct, frozen=True):
    """A placement on disk."""

    device: str
    bfloat16: bool
    """Else float32."""
    nf4: bool
    eight_bit_moments: bool
    checkpointing: bool


def free_bytes(device: str) -> int:
    """Memory that training could take now."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    available: int = psutil.virtual_memory().available
    return available


def _dtype(device: str) -> torch.dtype:
    """bfloat16 where products in it are fast."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device == "cpu":
        return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    return torch.float32
