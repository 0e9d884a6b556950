"""Muon for matrices, AdamW for the embedding and the norms, and a schedule that can be cooled down at any moment.

Muon (Jordan et al. 2024) steps along the orthogonalised momentum; `match_rms_adamw` (Moonlight, arXiv 2502.16982) scales
its steps so that one learning rate's order of magnitude fits both. The schedule is warm-up, stable, decay (MiniCPM, arXiv
2404.06395): one run serves every length of training, since only the last part, the cool-down, needs to know its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Rates:
    """Peak learning rates and the warm-up."""

    muon: float = 0.006
    embedding: float = 0.004
    norm: float = 0.006
    warmup_steps: int = 60


DEFAULT_RATES = Rates()


@dataclass(frozen=True, slots=True)
class Cooldown:
    """When the decay begins and how long it takes; part of a checkpoint, so that a resumed run decays alike."""

    first_step: int
    n_steps: int


def rate_at(step: int, warmup_steps: int, cooldown: Cooldown | None) -> float:
    """Share of the peak rate at `step`: linear up, flat, linear down to 0."""
    share = min((step + 1) / warmup_steps, 1.0)
    if cooldown and step >= cooldown.first_step:
        share *= max(1 - (step - cooldown.first_step + 1) / cooldown.n_steps, 0.0)
    return share


class Optimizer:
    """The two optimisers as one."""

    def __init__(self, model: nn.Module, rates: Rates) -> None:
        matrices = [w for n, w in model.named_parameters() if w.ndim == 2 and "embed" not in n]
        embedding = [w for n, w in model.named_parameters() if "embed" in n]
        norms = [w for w in model.parameters() if w.ndim == 1]
        self._muon = torch.optim.Muon(
            matrices, lr=rates.muon, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        groups = [{"params": embedding, "lr": rates.embedding}, {"params": norms, "lr": rates.norm}]
        self._adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
        self._peaks = [[g["lr"] for g in o.param_groups] for o in (self._muon, self._adamw)]

    def step(self, share: float) -> None:
        """Update with `share` of the peak rates, and clear the gradients."""
        for optimizer, peaks in zip((self._muon, self._adamw), self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """All state, for a checkpoint."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """The reverse of `state`."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])
