"""The training loop: one code path for CPU and CUDA, and a run that any kill leaves resumable, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from trainer.batches import MicroBatch
from trainer.pretrain import checkpoint
from trainer.pretrain.batches import StepBatches
from trainer.pretrain.checkpoint import Standing
from trainer.pretrain.decoder import Decoder, weighted_loss
from trainer.pretrain.optimizer import DEFAULT_RATES, Cooldown, Optimizer, Rates, rate_at
from trainer.pretrain.samples import SampleMaker

CLIP_NORM = 1.0
COOLDOWN_SHARE = 0.2
SAVE_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step."""

    step: int
    loss: float
    """Weighted mean, nats per token."""
    n_tokens: int
    seconds: float
    rate_share: float


def finished(standing: Standing) -> bool:
    """Whether a cool-down has come to its end."""
    cooldown = standing.cooldown
    return cooldown is not None and standing.step >= cooldown.first_step + cooldown.n_steps


@dataclass(slots=True)
class Run:
    """A model in training and where it stands."""

    model: Decoder
    optimizer: Optimizer
    standing: Standing
    device: str

    @classmethod
    def begin(cls, standing: Standing, device: str = "cpu", rates: Rates = DEFAULT_RATES) -> Run:
        """A fresh run; the seed decides the first weights."""
        torch.manual_seed(standing.seed)
        model = Decoder(standing.shape).to(device)
        return cls(model, Optimizer(model, rates), standing, device)

    @classmethod
    def resume(cls, folder: Path, device: str = "cpu", rates: Rates = DEFAULT_RATES) -> Run:
        """The run of a folder, as it was when it last saved."""
        run = cls.begin(checkpoint.standing(folder), device, rates)
        checkpoint.load(folder, run.model, run.optimizer)
        return run

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        checkpoint.save(folder, self.model, self.optimizer, self.standing)

    def cool_down(self, n_steps: int) -> None:
        """Let the rate fall to 0 over the next `n_steps`."""
        self.standing = replace(self.standing, cooldown=Cooldown(self.standing.step, n_steps))

    def steps(
        self, maker: SampleMaker, micro_tokens: int, rates: Rates = DEFAULT_RATES, n_workers: int = 0
    ) -> Iterator[StepReport]:
        """Train without end, or to the end of the cool-down; the caller decides when to save and when to stop."""
        data = StepBatches(maker, self.standing.samples_per_step, micro_tokens)
        forever = range(self.standing.step, 1 << 40)
        batches = DataLoader(
            data, batch_size=None, sampler=forever, num_workers=n_workers, prefetch_factor=4 if n_workers else None
        )
        for micro_batches in batches:
            began = time.monotonic()
            share = rate_at(self.standing.step, rates.warmup_steps, self.standing.cooldown)
            loss = self._learn(micro_batches, share)
            seconds = time.monotonic() - began
            n_tokens = sum(int((batch.weights > 0).sum()) for batch in micro_batches)
            self.standing = replace(
                self.standing,
                step=self.standing.step + 1,
                n_tokens=self.standing.n_tokens + n_tokens,
                seconds=self.standing.seconds + seconds,
            )
            yield StepReport(self.standing.step, loss, n_tokens, seconds, share)
            if finished(self.standing):
                return

    def _learn(self, micro_batches: list[MicroBatch], share: float) -> float:
        total = sum(float(batch.weights[:, 1:].sum()) for batch in micro_batches)
        nats = 0.0
        for batch in micro_batches:
            with torch.autocast(self.device.split(":")[0], torch.bfloat16):
                loss, _ = weighted_loss(self.model, batch.token_ids.to(self.device), batch.weights.to(self.device))
            torch.autograd.backward(loss / total)
            nats += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step(share)
        return nats / total


@torch.no_grad()
def held_out_loss(run: Run, batches: list[MicroBatch]) -> float:
    """Weighted mean nats per token of batches the run never learns from."""
    nats = total = 0.0
    for batch in batches:
        with torch.autocast(run.device.split(":")[0], torch.bfloat16):
            loss, n = weighted_loss(run.model, batch.token_ids.to(run.device), batch.weights.to(run.device))
        nats, total = nats + loss.item(), total + n.item()
    return nats / total


def train_for(
    run: Run,
    folder: Path,
    steps: Iterator[StepReport],
    seconds: float,
    report: Callable[[StepReport], None],
) -> None:
    """Train for about `seconds`, the last `COOLDOWN_SHARE` of them cooling down, with a checkpoint a minute and at the end.

    How many steps the cool-down has is settled, by the speed so far, when it begins, and is part of the checkpoint. What
    stood before it is kept beside it.
    """
    began = saved = time.monotonic()
    first = run.standing.step
    try:
        for step in steps:
            report(step)
            now = time.monotonic()
            if run.standing.cooldown is None and now - began >= seconds * (1 - COOLDOWN_SHARE):
                run.save(folder)
                checkpoint.keep_stable(folder)
                speed = (run.standing.step - first) / (now - began)
                run.cool_down(max(int(speed * (began + seconds - now)), 1))
            if now - saved >= SAVE_EVERY_SECONDS:
                run.save(folder)
                saved = time.monotonic()
    finally:
        run.save(folder)
