"""How an adapter is trained: all numbers in one frozen value, and presets by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from local_runtime.adapters.peft_config import MAX_RANK
from local_runtime.errors import BadRequest
from local_runtime.prompts.fim import DEFAULT_BUDGET, Budget

MLP = ("gate_proj", "up_proj", "down_proj")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TRAINED = "trained"
"""Folder below `places().data` for what `understudy train` leaves; forgetting deletes it."""
REFERENCE_HIDDEN = 2048
"""The width that `Recipe.rate` is meant for."""


class Precision(StrEnum):
    """How the frozen base lies in memory."""

    AUTO = "auto"  # float where it fits, else NF4
    FLOAT = "float"
    NF4 = "nf4"  # QLoRA (Dettmers et al. 2023), by bitsandbytes


class Moments(StrEnum):
    """How the optimiser keeps its two moments."""

    AUTO = "auto"  # 8 bits on CUDA
    FLOAT = "float"
    EIGHT_BIT = "8-bit"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what comes out, besides the base and the examples."""

    name: str
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = MLP
    rate: float = 3e-4
    """Peak learning rate at a hidden size of `REFERENCE_HIDDEN`; see `rate_for`."""
    width_exponent: float = 1.0
    """How the rate falls with the width; see `rate_for`."""
    final_rate_share: float = 0.1
    warmup_steps: int = 10
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    examples_per_step: int = 8
    epochs: float = 2.0
    """How often every example is seen, `max_steps` permitting."""
    max_steps: int = 120
    context_weight: float = 0.1
    """Loss weight of a prompt's own text; that of a middle and its end is the example's weight."""
    anchor: float = 3.0
    """How much weighs that other people's code is predicted as the base does (mean KL divergence of a token, in nats; as in Li and
    Hoiem 2018, "Learning without Forgetting"). 0: that code is learnt like the user's."""
    budgets: tuple[tuple[float, Budget], ...] = ((1.0, DEFAULT_BUDGET),)
    """How much of its surroundings an example is shown, each with its share; drawn by the example's content."""
    micro_tokens: int = 2048
    """Padded tokens of one forward, at most."""
    precision: Precision = Precision.AUTO
    moments: Moments = Moments.AUTO
    checkpointing: bool | None = None
    """Compute activations twice to save memory; None: when the estimate says so."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises BadRequest for numbers that no training can use."""
        rules = {
            f"rank {self.rank}: expected 1 to {MAX_RANK}": 1 <= self.rank <= MAX_RANK,
            f"rate {self.rate}: expected above 0": 0 < self.rate < 1,
            f"alpha {self.alpha}: expected above 0": self.alpha > 0,
            f"anchor {self.anchor}: expected 0 or more": self.anchor >= 0,
            "targets: expected at least one, of " + ", ".join(MLP + ATTENTION): bool(self.targets)
            and set(self.targets) <= set(MLP + ATTENTION),
            "examples_per_step, epochs and max_steps: expected above 0": self.examples_per_step > 0
            and self.epochs > 0
            and self.max_steps > 0,
        }
        for sentence, holds in rules.items():
            if not holds:
                raise BadRequest(f"recipe {self.name}: {sentence}")

    def rate_for(self, hidden_size: int) -> float:
        """The peak rate for a model of this width: narrow ones take larger steps (muP, Yang et al. 2022, has the exponent 1)."""
        scale: float = (REFERENCE_HIDDEN / hidden_size) ** self.width_exponent
        return min(self.rate * scale, 0.02)

    def n_steps(self, n_examples: int) -> int:
        """Optimiser steps for so many examples."""
        return max(1, min(self.max_steps, round(n_examples * self.epochs / self.examples_per_step)))


def preset(name: str) -> Recipe:
    """The recipe of that name. Raises BadRequest."""
    found = {recipe.name: recipe for recipe in presets()}
    if name not in found:
        raise BadRequest(f"no preset {name[:40]!r}; known are {', '.join(found)}")
    return found[name]


def presets() -> tuple[Recipe, ...]:
    """All presets."""
    short = Budget(related_tokens=192, prefix_tokens=256, suffix_tokens=96, line_tokens=96)
    # Tried on httpx's releases with a model of width 192, 80 steps; gain on later releases, rise of the general set in nats
    # per byte (the gate allows 0.02): no anchor at a peak of 0.004 2.0 % and 0.036; an anchor of 3 3.8 % and 0.007; of 6 at 0.017
    # 5.3 % and 0.014. With context weights of 0 and 1 instead of 0.3 the gain fell from 3.8 to 1.0 and 3.2 %. The exponent joins
    # that peak to 4e-4 at a width of 2048, which is usual there.
    first = Recipe(
        "first-night",
        targets=ATTENTION + MLP,
        rate=4e-4,
        width_exponent=1.6,
        anchor=6.0,
        context_weight=0.3,
        budgets=((0.7, short), (0.3, DEFAULT_BUDGET)),
    )
    return (
        first,
        replace(first, name="warm-night", rate=2e-4, epochs=1.0, max_steps=60),
        replace(first, name="rebuild", max_steps=400),
        # Minutes instead of hours on a CPU: a demonstration, or a first taste.
        replace(
            first,
            name="taste",
            rate=1.2e-4,
            examples_per_step=4,
            max_steps=24,
            warmup_steps=3,
            budgets=((1.0, Budget(related_tokens=0, prefix_tokens=160, suffix_tokens=48, line_tokens=48)),),
        ),
        # The recipe of "Personal Copilot" (QLoRA on StarCoder): 2,000 steps of 16 x 2,048 tokens, rank 32, 5e-4, all linears.
        Recipe(
            "starcoder-qlora",
            rank=32,
            alpha=64.0,
            targets=ATTENTION + MLP,
            rate=5e-4,
            final_rate_share=0.0,
            warmup_steps=30,
            betas=(0.9, 0.999),
            weight_decay=0.01,
            examples_per_step=16,
            epochs=1000.0,
            max_steps=2000,
            context_weight=1.0,
            anchor=0.0,
            budgets=((1.0, Budget(related_tokens=960, prefix_tokens=704, suffix_tokens=256, line_tokens=80)),),
            micro_tokens=8192,
            precision=Precision.NF4,
            moments=Moments.FLOAT,
            checkpointing=True,
        ),
    )
