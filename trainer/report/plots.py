"""The report's plots: matplotlib to inline SVG, without a date, a font file or an address in it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from local_runtime.errors import BadRequest
from local_runtime.pip_command import install_extra
from trainer.report.evidence import WHO, Day, Evidence, Night

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"base": "#9aa0a6", "serving": "#5b8def", "candidate": "#1a9e6c"}
NAMES = {"base": "base", "serving": "what served", "candidate": "this night's"}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "understudy",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.25,
    "figure.constrained_layout.use": True,
}
_SMOOTHING = 0.9


def plots(evidence: Evidence) -> dict[str, str]:
    """SVG elements by title; what there is no data for has none. Raises BadRequest without matplotlib."""
    drawn: dict[str, str] = {}
    judged, trained = evidence.last_judged, evidence.last_trained
    if judged is not None:
        drawn["Held-out loss by language"] = _svg(lambda axes: _by_language(axes, judged, "loss", "nats per byte"))
        drawn["Exact first lines by language"] = _svg(lambda axes: _by_language(axes, judged, "exact", "share"))
        if judged.context is not None:
            drawn["With and without related pieces"] = _svg(lambda axes: _context(axes, judged))
    gains = [night for night in evidence.nights if night.gain is not None]
    if len(gains) > 1:
        drawn["Night by night: loss below the base's"] = _svg(lambda axes: _gains(axes, gains))
    if trained is not None:
        drawn["Training curve of the last night"] = _svg(lambda axes: _curve(axes, trained))
    if evidence.days:
        drawn["Accepted and kept, by day"] = _svg(lambda axes: _days(axes, evidence.days, evidence.nights))
    return drawn


def _svg(draw: Callable[[Axes], None], width: float = 6.0, height: float = 2.8) -> str:
    try:
        import matplotlib  # noqa: PLC0415 - half a second, and only the trainer's extra brings it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise BadRequest("the report's plots need matplotlib", install_extra("train")) from None
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        draw(figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue())


def _inline(svg: str) -> str:
    """From the first element on, without the metadata block."""
    svg = svg[svg.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def _by_language(axes: Axes, night: Night, measure: str, unit: str) -> None:
    languages = ["", *night.languages] if len(night.languages) > 1 else [""]
    _bars(axes, ["all", *languages[1:]], {who: [night.figure(who, measure, name) for name in languages] for who in WHO})
    axes.set_ylabel(unit)


def _context(axes: Axes, night: Night) -> None:
    assert night.context is not None
    groups = {who: [night.context.without.get(who), night.context.with_pieces.get(who)] for who in WHO}
    _bars(axes, ["without", "with"], groups)
    axes.set_ylabel("nats per byte")


def _bars(axes: Axes, labels: Sequence[str], groups: dict[str, list[float | None]]) -> None:
    shown = {who: values for who, values in groups.items() if any(value is not None for value in values)}
    width = 0.8 / max(1, len(shown))
    for n, (who, values) in enumerate(shown.items()):
        found = {x + (n - (len(shown) - 1) / 2) * width: y for x, y in enumerate(values) if y is not None}
        bars = axes.bar(list(found), list(found.values()), width * 0.9, color=COLOURS[who], label=NAMES[who])
        axes.bar_label(bars, fmt="%.3g", fontsize=7)
    axes.set_xticks(range(len(labels)), labels)
    axes.margins(y=0.15)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _gains(axes: Axes, nights: Sequence[Night]) -> None:
    values = [100 * (night.gain or 0.0) for night in nights]
    axes.axhline(0, color=COLOURS["base"], linewidth=1)
    axes.plot(range(len(values)), values, color=COLOURS["candidate"])
    for x, (night, value) in enumerate(zip(nights, values, strict=True)):
        filled = COLOURS["candidate"] if night.record.promoted else "white"
        axes.plot(x, value, "o", markerfacecolor=filled, markeredgecolor=COLOURS["candidate"])
    axes.set_ylabel("%")
    axes.set_xlabel("nights; filled: promoted")
    axes.set_xticks([])


def _curve(axes: Axes, night: Night) -> None:
    steps = [line.step for line in night.steps]
    losses = [line.loss for line in night.steps]
    axes.plot(steps, losses, ".", color=COLOURS["base"], markersize=3, label="each step")
    axes.plot(steps, smoothed(losses), color=COLOURS["candidate"], label="smoothed")
    axes.set_xlabel("steps")
    axes.set_ylabel("nats per token")
    axes.legend(frameon=False)


def _days(axes: Axes, days: Sequence[Day], nights: Sequence[Night]) -> None:
    at: list[Any] = [day.day for day in days]
    axes.plot(at, [100 * day.rate for day in days], "o-", markersize=3, color=COLOURS["candidate"], label="accepted")
    kept = [(day.day, 100 * day.kept) for day in days if day.kept is not None]
    if kept:
        axes.plot([when for when, _ in kept], [share for _, share in kept], "o-", markersize=3, color=COLOURS["serving"], label="kept")  # type: ignore[arg-type]  # fmt: skip
    for night in nights:
        if night.record.promoted and night.record.ended:
            axes.axvline(night.record.ended / 86_400, color=COLOURS["base"], linewidth=0.7, linestyle=":")
    axes.set_ylabel("%")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False)
    axes.figure.autofmt_xdate()


def smoothed(values: Sequence[float]) -> list[float]:
    """An exponential mean without the bias of its beginning."""
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        out.append(mean / weight)
    return out
