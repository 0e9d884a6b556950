"""What training will take: memory by part, and minutes from a short probe on this very device."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from local_runtime.model.layout import fused_tensors, peft_targets
from local_runtime.model.model_folder import ModelFolder
from trainer.head_loss import CHUNK_TOKENS
from trainer.tuning.base import Placement, add_adapter, load_base, trainable
from trainer.tuning.recipe import Recipe

PROCESS_BYTES = 480 << 20
"""PyTorch, transformers and PEFT loaded, before any weight."""
NF4_BYTES = 0.516
"""Per weight: 4 bits, and the twice quantised scale of each 64."""
PROBE_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Before training: what it will need."""

    bytes_by_part: dict[str, int]
    placement: Placement
    n_steps: int
    n_tokens: int
    tokens_per_second: float
    """Measured; 0 when no probe was made."""

    @property
    def total_bytes(self) -> int:
        """The sum of all parts."""
        return sum(self.bytes_by_part.values())

    @property
    def minutes(self) -> float:
        """Expected; 0 when no probe was made."""
        return self.n_tokens / self.tokens_per_second / 60 if self.tokens_per_second else 0.0


def estimate(
    model: ModelFolder, recipe: Recipe, device: str | None = None, n_examples: int = 480, *, probe: bool = True
) -> Estimate:
    """The estimate for a night of `n_examples`. The probe loads the base and runs some steps on random tokens."""
    from trainer.tuning.placement import place  # noqa: PLC0415 - it chooses by estimates

    placement = place(model, recipe, device)
    n_steps = recipe.n_steps(n_examples)
    tokens = n_steps * recipe.examples_per_step * mean_tokens(model, recipe)
    speed = probe_speed(model, recipe, placement) if probe else 0.0
    return Estimate(estimate_bytes(model, recipe, placement), placement, n_steps, int(tokens), speed)


def mean_tokens(model: ModelFolder, recipe: Recipe) -> float:
    """Tokens of an example when its budget is about three quarters used, as measured on real histories."""
    shares = sum(share for share, _ in recipe.budgets)
    full = sum(share * min(budget.n_tokens, model.config.context_tokens) for share, budget in recipe.budgets) / shares
    return 0.75 * full


def estimate_bytes(model: ModelFolder, recipe: Recipe, placement: Placement) -> dict[str, int]:
    """Bytes by part at the peak of a step. Activations are those that PyTorch keeps for the way back."""
    config, item = model.config, placement.dtype.itemsize
    targets = tuple(f".{target}.weight" for target in peft_targets(config.family, recipe.targets))
    linears = others = adapter = 0
    for fused in fused_tensors(config):
        for part in fused.parts:
            shape = fused.part_shape(part)
            n = shape[0] * (shape[1] if len(shape) == 2 else 1)
            if fused.takes_adapter:
                linears += n
                if part.name.endswith(targets):
                    adapter += recipe.rank * sum(shape)
            else:
                others += n
    longest = max(min(budget.n_tokens + 128, config.context_tokens) for _, budget in recipe.budgets)
    n_tokens = max(recipe.micro_tokens, longest)
    return {
        "PyTorch and its libraries": PROCESS_BYTES,
        "base": int(linears * (NF4_BYTES if placement.nf4 else item)) + others * item,
        "adapter and gradients": adapter * 8,
        "optimiser": adapter * (2 if placement.eight_bit_moments else 8),
        "activations": _activation_bytes(model, placement, n_tokens, longest),
        "logits": min(n_tokens, CHUNK_TOKENS[placement.device]) * config.vocab_size * (4 + 2 * item),
    }


def probe_speed(model: ModelFolder, recipe: Recipe, placement: Placement) -> float:
    """Tokens per second of forward and backward, measured for a few seconds on random tokens."""
    from trainer.tuning.tune import autocast, weighted_nats  # noqa: PLC0415 - it chooses by estimates

    adapted: nn.Module = add_adapter(load_base(model, placement), recipe)
    width = int(min(mean_tokens(model, recipe), model.config.context_tokens - 1))
    rows = max(recipe.micro_tokens // width, 1)
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (rows, width), generator=source).to(placement.device)
    weights = torch.full((rows, width), recipe.context_weight, device=placement.device)
    weights[:, -40:] = 1.0
    n_done, began = 0, time.monotonic()
    for number in range(1000):
        with autocast(placement):
            loss = weighted_nats(adapted, ids, weights)
        torch.autograd.backward(loss)
        loss.item()
        for weight in trainable(adapted).values():
            weight.grad = None
        now = time.monotonic()
        if number == 0:
            began = now  # the first run warms up
            continue
        n_done += rows * width
        if now - began >= PROBE_SECONDS:
            break
    return n_done / (time.monotonic() - began)


def _activation_bytes(model: ModelFolder, placement: Placement, n_tokens: int, longest: int) -> int:
    """Per layer and token: what enters each product, norms and gates in float32 where they are computed so."""
    config, item = model.config, placement.dtype.itemsize
    heads = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
    kept = 6 * config.hidden_size + 3 * heads + 5 * config.intermediate_size
    layer = n_tokens * kept * (item + 4) // 2
    if placement.device == "cpu":
        layer += n_tokens * longest * config.n_heads * item // 4  # blocks of attention scores
    n_kept = 1 if placement.checkpointing else config.n_layers
    between = config.n_layers * n_tokens * config.hidden_size * item
    return n_kept * layer + between
