"""Training as a generator of reports: the caller decides what to log, when to stop, and how to go on after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from local_runtime.errors import OutOfMemory
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import folder
from local_runtime.prompts.fim import FimTokenizer
from trainer.batches import MicroBatch, pad_together
from trainer.edits import Example
from trainer.examples.identity import corpus_hash
from trainer.head_loss import HeadDivergence, HeadLoss
from trainer.tuning import adapter_folder, checkpoint
from trainer.tuning.base import (
    Placement,
    add_adapter,
    head_weight,
    hidden_states,
    import_bitsandbytes,
    load_base,
    parent_of,
    trainable,
)
from trainer.tuning.checkpoint import Standing
from trainer.tuning.faults import TrainingFailed
from trainer.tuning.placement import place
from trainer.tuning.recipe import Recipe
from trainer.tuning.samples import Sampler, order

SAVE_EVERY_SECONDS = 20.0
RECORD = "record.json"
_WIDTHS = 64
_LOG = logging.getLogger("understudy.tuning")


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step."""

    step: int
    """Counted from 1; a resumed run goes on counting."""
    n_steps: int
    loss: float
    """Weighted mean, nats per token."""
    n_tokens: int
    """Tokens read in this step, without padding."""
    seconds: float
    rate: float
    """Learning rate of this step."""
    resident_bytes: int
    """Memory of this process after the step."""


@dataclass(frozen=True, slots=True)
class Pause:
    """How training makes way between two micro-batches: on an accelerator it gives the memory back meanwhile."""

    wanted: Callable[[], bool]
    wait: Callable[[], None]
    """Returns when training may go on."""


def tune(
    model: ModelFolder,
    examples: Sequence[Example],
    recipe: Recipe,
    run: Path,
    warm_start: Path | None = None,
    *,
    placement: Placement | None = None,
    pause: Pause | None = None,
    memory_cap_bytes: int | None = None,
) -> Iterator[StepReport]:
    """Train an adapter of `model` on `examples`, in their order, and leave it in `run/adapter` (a PEFT folder, `manifest.json`).

    `run` keeps the state: the same call with the same arguments goes on where a killed one last saved, bit-equally on the same
    machine with the same versions and thread count; with other arguments it begins anew. When `run/adapter` is already the
    result of this very call, nothing is reported. `warm_start` is the PEFT folder to go on from, with the recipe's rank and
    targets. `placement` defaults to what the device and its free memory allow. `run/record.json` holds what it took.

    Raises TrainingFailed (no examples, a loss that is no number, a full disk), OutOfMemory (above `memory_cap_bytes` resident),
    AdapterInvalid (`warm_start` does not fit), ModelInvalid (no fill-in-the-middle sentinels).
    """
    if not examples:
        raise TrainingFailed("there is nothing to learn from: no examples", "understudy learn preview")
    fim = FimTokenizer.open(model.path)  # first: a model without sentinels is refused before anything is loaded
    placement = placement or place(model, recipe)
    parent = parent_of(warm_start, model, recipe) if warm_start is not None else None
    corpus = corpus_hash(examples)
    parent_id = parent[0].id if parent else None
    identity = _identity(model, recipe, placement, corpus, parent_id)
    folder(run)
    if adapter_folder.finished(run, identity):
        return
    with _deterministic():
        loop = _Loop.begin(model, recipe, placement, parent[1] if parent else None, Standing(identity))
        loop.resume(run)
        sampler = Sampler(fim, recipe, model.config.context_tokens)
        plan = order(len(examples), recipe.n_steps(len(examples)), recipe)
        saved = time.monotonic()
        while loop.standing.step < len(plan):
            drawn = [(examples[index], epoch) for epoch, index in plan[loop.standing.step]]
            lesson = [sampler.sample(*one) for one in drawn if not sampler.is_anchor(one[0])]
            anchor = [sampler.anchor(*one) for one in drawn if sampler.is_anchor(one[0])]
            together = partial(pad_together, micro_tokens=recipe.micro_tokens, pad_id=fim.end_id, multiple=_WIDTHS)
            yield loop.step(together(lesson), together(anchor), len(plan), pause, memory_cap_bytes)
            if time.monotonic() - saved >= SAVE_EVERY_SECONDS and loop.standing.step < len(plan):
                checkpoint.save(run, loop.weights, loop.optimizer, loop.standing)
                saved = time.monotonic()
        said = adapter_folder.manifest(model, recipe, corpus, parent_id, identity)
        _record(run, loop.standing, placement, len(examples))
        adapter_folder.write(run, loop.weights, recipe, said, model.config.family)
    (run / checkpoint.NAME).unlink(missing_ok=True)


@dataclass(slots=True)
class _Loop:
    """A model in training and where it stands."""

    adapted: nn.Module
    weights: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    placement: Placement
    peak_rate: float
    standing: Standing

    @classmethod
    def begin(
        cls, model: ModelFolder, recipe: Recipe, placement: Placement, warm_start: Any, standing: Standing
    ) -> _Loop:
        adapted = add_adapter(load_base(model, placement), recipe, warm_start)
        weights = trainable(adapted)
        optimizer = _optimizer(list(weights.values()), recipe, placement)
        return cls(adapted, weights, optimizer, recipe, placement, recipe.rate_for(model.config.hidden_size), standing)

    def resume(self, run: Path) -> None:
        """Go on from the run's checkpoint if it is of this very training; else leave it behind."""
        found = checkpoint.standing_of(run)
        if found is None and (run / checkpoint.NAME).exists():
            _LOG.warning("%s is damaged: the run begins anew", run / checkpoint.NAME)
        elif found is not None and found.identity != self.standing.identity:
            _LOG.warning("%s is of another training: the run begins anew", run / checkpoint.NAME)
        elif found is not None:
            self.standing = checkpoint.load(run, self.weights, self.optimizer)

    def step(
        self,
        lesson: list[MicroBatch],
        anchor: list[MicroBatch],
        n_steps: int,
        pause: Pause | None,
        cap_bytes: int | None,
    ) -> StepReport:
        """One optimiser step: towards the lesson's text, and not away from what the base says of the anchor's."""
        began = time.monotonic()
        lesson_weight, anchor_weight = _total_weight(lesson), _total_weight(anchor)
        nats, paused, n_tokens = 0.0, 0.0, 0
        for batch, divisor, loss_of in (
            *((batch, lesson_weight, weighted_nats) for batch in lesson),
            *((batch, anchor_weight / self.recipe.anchor, drift) for batch in anchor),
        ):
            paused += self._make_way(pause)
            device = self.placement.device
            with autocast(self.placement):
                loss = loss_of(self.adapted, batch.token_ids.to(device), batch.weights.to(device))
            torch.autograd.backward(loss / divisor)
            nats += loss.item() if loss_of is weighted_nats else 0.0
            n_tokens += batch.n_tokens
            resident = _check_memory(cap_bytes)
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.clip_norm)
        if not (math.isfinite(nats) and math.isfinite(norm.item())):
            raise TrainingFailed(
                f"step {self.standing.step + 1}: the loss is no number any more; nothing of this run is kept",
                "understudy train --preset rebuild",
            )
        rate = self.peak_rate * _share(self.standing.step, n_steps, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began - paused
        self.standing = replace(
            self.standing,
            step=self.standing.step + 1,
            n_tokens=self.standing.n_tokens + n_tokens,
            seconds=self.standing.seconds + seconds,
            peak_bytes=max(self.standing.peak_bytes, resident),
        )
        return StepReport(self.standing.step, n_steps, nats / (lesson_weight or 1.0), n_tokens, seconds, rate, resident)

    def _make_way(self, pause: Pause | None) -> float:
        """Wait while the user needs the machine; seconds waited."""
        if pause is None or not pause.wanted():
            return 0.0
        began = time.monotonic()
        with _off_the_device(self.adapted, self.optimizer, self.placement.device):
            pause.wait()
        return time.monotonic() - began


def weighted_nats(adapted: nn.Module, token_ids: Tensor, weights: Tensor) -> Tensor:
    """Sum of weight times nats of predicting each id `[B, T]` after those before it, over the positions that weigh anything."""
    wanted = weights[:, 1:].flatten()
    at = wanted.nonzero()[:, 0]
    hidden = hidden_states(adapted, token_ids[:, :-1]).flatten(0, 1).index_select(0, at)
    targets = token_ids[:, 1:].flatten().index_select(0, at)
    loss: Tensor = HeadLoss.apply(hidden, head_weight(adapted), targets, wanted.index_select(0, at))  # type: ignore[no-untyped-call]
    return loss


def drift(adapted: Any, token_ids: Tensor, weights: Tensor) -> Tensor:
    """Sum of weight times how far the prediction of each id `[B, T]` is from the base's own (KL of the base to it, in nats)."""
    wanted = weights[:, 1:].flatten()
    at = wanted.nonzero()[:, 0]

    def hidden() -> Tensor:
        return hidden_states(adapted, token_ids[:, :-1]).flatten(0, 1).index_select(0, at)

    with torch.no_grad(), adapted.disable_adapter():
        base = hidden()
    divergence: Tensor = HeadDivergence.apply(hidden(), head_weight(adapted), base, wanted.index_select(0, at))  # type: ignore[no-untyped-call]
    return divergence


def _total_weight(batches: Sequence[MicroBatch]) -> float:
    return sum(float(batch.weights[:, 1:].sum()) for batch in batches)


def autocast(placement: Placement) -> torch.autocast:
    """Products in the placement's type, sums and the adapter in float32."""
    return torch.autocast(placement.device, torch.bfloat16, enabled=placement.dtype == torch.bfloat16)


def _optimizer(weights: list[nn.Parameter], recipe: Recipe, placement: Placement) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": recipe.rate, "betas": recipe.betas, "weight_decay": recipe.weight_decay}
    if placement.eight_bit_moments:
        eight_bit: Any = import_bitsandbytes("optim")
        return eight_bit.AdamW8bit(weights, **options)  # type: ignore[no-any-return]
    return torch.optim.AdamW(weights, fused=placement.device != "mps", **options)


def _share(step: int, n_steps: int, recipe: Recipe) -> float:
    """Share of the peak rate at a step counted from 0: linear up, then half a cosine down to the final share."""
    warmup = min(recipe.warmup_steps, max(n_steps // 4, 1))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup + 1) / max(n_steps - warmup, 1)
    return recipe.final_rate_share + (1 - recipe.final_rate_share) * 0.5 * (1 + math.cos(math.pi * done))


def _identity(model: ModelFolder, recipe: Recipe, placement: Placement, corpus: str, parent: str | None) -> str:
    said = (
        model.base_hash, model.quantization.name, repr(asdict(recipe)), repr(placement), corpus, parent,
        torch.__version__, torch.get_num_threads(),
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()


@contextmanager
def _deterministic() -> Iterator[None]:
    """The same sums in the same order each time, and the caller's random numbers left alone."""
    before, state = torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_rng_state(state)


@contextmanager
def _off_the_device(adapted: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> Iterator[None]:
    """Everything in the host's memory while the block runs; nothing to do on a CPU."""
    if device == "cpu":
        yield
        return
    _move(adapted, optimizer, "cpu")
    torch.cuda.empty_cache() if device == "cuda" else torch.mps.empty_cache()
    yield
    _move(adapted, optimizer, device)


def _move(adapted: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> None:
    adapted.to(device)
    for slots in optimizer.state.values():
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.ndim:
                slots[name] = value.to(device)


def _check_memory(cap_bytes: int | None) -> int:
    """Resident bytes. Raises OutOfMemory above the cap."""
    resident: int = psutil.Process().memory_info().rss
    if cap_bytes is not None and resident > cap_bytes:
        raise OutOfMemory(
            f"training took {resident >> 20:,} MB, more than its cap of {cap_bytes >> 20:,} MB",
            "understudy train --estimate, then a smaller preset or a larger cap",
        )
    return resident


def _record(run: Path, standing: Standing, placement: Placement, n_examples: int) -> None:
    """What the run really took."""
    said = {
        "steps": standing.step,
        "tokens": standing.n_tokens,
        "examples": n_examples,
        "seconds": round(standing.seconds, 1),
        "peak_bytes": standing.peak_bytes,
        "device": placement.device,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "nf4": placement.nf4,
        "threads": torch.get_num_threads(),
    }
    (run / RECORD).write_text(json.dumps(said, indent=1) + "\n")
