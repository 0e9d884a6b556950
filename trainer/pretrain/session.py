"""One sitting of training: opens or resumes the run's folder, logs, measures the held-out loss, draws the curve."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from local_runtime.fim import FimTokenizer
from trainer.batches import pad_together
from trainer.pretrain import checkpoint, corpus
from trainer.pretrain.checkpoint import Standing
from trainer.pretrain.curve import draw_curve
from trainer.pretrain.decoder import SHAPES
from trainer.pretrain.samples import SampleMaker
from trainer.pretrain.train import Run, StepReport, finished, held_out_loss, train_for

LOG = "steps.jsonl"
MICRO_TOKENS = {"cpu": 4096, "cuda": 65536}
HELD_OUT_SAMPLES = 64
HELD_OUT_EVERY_STEPS = 200
REPORT_EVERY_STEPS = 10


@dataclass(frozen=True, slots=True)
class Sitting:
    """What one call of `train` was asked for."""

    minutes: float
    """All of the time, the cool-down at its end included."""
    cool_down_steps: int | None = None
    """Begin the cool-down at once, over so many steps, however long they take."""
    seed: int = 20
    """Of a fresh run; a resumed one keeps its own."""
    samples_per_step: int | None = None
    """None: 16 for a fresh run, for a resumed one as before."""
    threads: int = 0
    """0: PyTorch decides."""


def train_here(work: Path, shape: str, asked: Sitting) -> None:
    """Train the run `work/shape`. Its folder holds the tokenizer, the checkpoint, the log and the curve."""
    if asked.threads:
        torch.set_num_threads(asked.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = work / shape
    fim = FimTokenizer.open(folder)
    resumed = (folder / checkpoint.NAME).exists()
    if resumed and finished(checkpoint.standing(folder)):
        checkpoint.return_to_stable(folder)
    run = (
        Run.resume(folder, device) if resumed else Run.begin(Standing(SHAPES[shape], asked.seed, 16, 0, 0, 0.0), device)
    )
    if asked.samples_per_step:
        run.standing = replace(run.standing, samples_per_step=asked.samples_per_step)
    documents = list(corpus.read(work / "corpus.jsonl.gz", ("training", "general")))
    maker = SampleMaker(fim, [d for d in documents if d.role == "training"], run.standing.seed)
    judge = SampleMaker(fim, [d for d in documents if d.role == "general"], 1)
    micro_tokens = MICRO_TOKENS[device]
    held_out = pad_together([judge.sample(n) for n in range(HELD_OUT_SAMPLES)], micro_tokens, fim.end_id)
    if asked.cool_down_steps:
        run.save(folder)
        checkpoint.keep_stable(folder)
        run.cool_down(asked.cool_down_steps)
    _forget_after(folder / LOG, run.standing.step)
    n_parameters = sum(w.numel() for w in run.model.parameters())
    print(
        f"{'resumed' if resumed else 'new'} run {folder}: {n_parameters / 1e6:.1f}M on {device}, step {run.standing.step}",
        flush=True,
    )
    steps = run.steps(maker, micro_tokens, n_workers=12 if device == "cuda" else 0)
    me = psutil.Process()
    recent: list[StepReport] = []
    last = [time.monotonic(), sum(me.cpu_times()[:2])]

    def report(step: StepReport) -> None:
        recent.append(step)
        if step.step % REPORT_EVERY_STEPS and not finished(run.standing):
            return
        now, used = time.monotonic(), sum(me.cpu_times()[:2])
        wall = now - last[0]
        n_tokens = sum(s.n_tokens for s in recent)
        line = {
            "step": step.step,
            "n_tokens": run.standing.n_tokens,
            "loss": round(sum(s.loss for s in recent) / len(recent), 4),
            "tokens_per_second": round(n_tokens / wall),
            "gflops": round(6 * n_parameters * n_tokens / wall / 1e9),
            "cpus_used": round((used - last[1]) / wall, 2),
            "rate_share": round(step.rate_share, 4),
        }
        if step.step % HELD_OUT_EVERY_STEPS == 0 or finished(run.standing):
            line["held_out_loss"] = round(held_out_loss(run, held_out), 4)
        last[:] = [time.monotonic(), sum(me.cpu_times()[:2])]
        recent.clear()
        with (folder / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    try:
        train_for(run, folder, steps, asked.minutes * 60, report)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", flush=True)
    finally:
        draw_curve(folder / LOG, folder / "loss.png")


def _forget_after(log: Path, step: int) -> None:
    """A killed run's log may be ahead of its checkpoint."""
    if log.exists():
        lines = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(line + "\n" for line in lines))
