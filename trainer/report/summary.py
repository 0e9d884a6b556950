"""The report in a terminal: a few lines with sparklines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trainer.report.evidence import WHO, Evidence
from trainer.report.page import headline
from trainer.report.plots import NAMES, smoothed

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40


def summary(evidence: Evidence) -> Group:
    """What `understudy report` prints."""
    lines = Table.grid(padding=(0, 2))
    gains = [night.gain for night in evidence.nights if night.gain is not None]
    if gains:
        lines.add_row("[dim]gain by night", sparkline(gains), f"{gains[-1]:+.1%} against the base")
    trained = evidence.last_trained
    if trained is not None:
        losses = smoothed([step.loss for step in trained.steps])
        lines.add_row("[dim]training loss", sparkline(losses), f"{losses[0]:.2f} to {losses[-1]:.2f} nats per token")
    if evidence.days:
        rates = [day.rate for day in evidence.days]
        lines.add_row("[dim]accepted by day", sparkline(rates), f"{rates[-1]:.0%} on the last day")
    night = evidence.last_judged
    parts: list[Text | Table] = [Text(headline(evidence)), lines]
    if night is not None:
        table = Table("", *(NAMES[who] for who in WHO))
        for measure in ("loss", "exact", "stops", "general_loss"):
            found = [night.figure(who, measure) for who in WHO]
            table.add_row(measure.replace("_", " "), *("" if value is None else f"{value:.4g}" for value in found))
        parts.append(table)
    return Group(*parts)


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Values as bars from the lowest to the highest; more than `width` are averaged in groups."""
    if not values:
        return ""
    n = min(width, len(values))
    bounds = [i * len(values) // n for i in range(n + 1)]
    shown = [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    low, high = min(shown), max(shown)
    span = high - low
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in shown)
