"""The loss curve of a run, as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curve(log: Path, picture: Path) -> None:
    """Draw training and held-out loss over tokens, from a run's log. Without matplotlib there is the log alone."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  only here, and only in the `pretrain` extra
    except ImportError:
        print(f"no picture of the loss: pip install 'understudy[pretrain]' draws {picture}", flush=True)
        return
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [line["n_tokens"] / 1e6 for line in lines], [line["loss"] for line in lines], linewidth=0.8, label="training"
    )
    judged = [line for line in lines if "held_out_loss" in line]
    axes.plot(
        [line["n_tokens"] / 1e6 for line in judged],
        [line["held_out_loss"] for line in judged],
        "o-",
        label="held-out packages",
    )
    axes.set(xlabel="tokens (millions)", ylabel="loss (nats per token, weighted)", yscale="log")
    axes.legend()
    figure.savefig(picture, dpi=120)
