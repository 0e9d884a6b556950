"""The report as one HTML page: styles and plots inside, no script, nothing fetched from anywhere. Everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from html import escape

from trainer.report.evidence import WHO, Day, Evidence, Night
from trainer.report.plots import NAMES

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Understudy: what was learnt</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.lead { font-size: 1.1rem; } .soft { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .7rem; background: #fff; color: #222; border: 1px solid var(--line); border-radius: .5rem; }
figure svg { width: 100%; height: auto; } figcaption { font-weight: 600; margin-bottom: .3rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
</style></head><body>
"""
N_NIGHTS = 20
N_FOLDERS = 40


def page(evidence: Evidence, drawn: Mapping[str, str], now: float) -> str:
    """The whole document. `drawn` are SVG elements of ours, by title; all else is text."""
    made = datetime.fromtimestamp(now).strftime("%d %B %Y, %H:%M")
    body = [
        "<h1>What was learnt</h1>",
        f'<p class="soft">{_text(made)}. Made on this machine, from this machine; nothing was sent anywhere.</p>',
        f'<p class="lead">{_text(headline(evidence))}</p>',
        '<div class="plots">' if drawn else "",
        *(f"<figure><figcaption>{_text(title)}</figcaption>{svg}</figure>" for title, svg in drawn.items()),
        "</div>" if drawn else "",
        *_verdict(evidence.last_judged or _last(evidence)),
        *_nights(evidence.nights),
        *_acceptance(evidence.before, evidence.after),
        *_folders(evidence.last_learnt),
        *_counts("What was left out, and why", ("reason", "times"), evidence.left_out),
        *_counts("Why it waited", ("reason", "looks"), evidence.waits),
    ]
    return _HEAD + "\n".join(part for part in body if part) + "\n</body></html>\n"


def headline(evidence: Evidence) -> str:
    """The result in a sentence."""
    night = evidence.last_judged
    if night is None:
        last = _last(evidence)
        why = last.record.outcome if last else "no night has run: understudy learn status says what it waits for"
        return f"Nothing learnt yet: {why}"
    n_hunks = night.metrics.get("judged_hunks", night.metrics.get("hunks", 0))
    gain = night.gain or 0.0
    direction = "below" if gain >= 0 else "above"
    verdict = "It serves." if night.record.promoted else "It was not promoted; what served stays."
    return f"On {n_hunks:.0f} held-out edits this night's adapter has a loss {abs(gain):.1%} {direction} the base's. {verdict}"


def _last(evidence: Evidence) -> Night | None:
    return evidence.nights[-1] if evidence.nights else None


def _verdict(night: Night | None) -> Iterator[str]:
    if night is None:
        return
    yield "<h2>The last verdict</h2>"
    if night.record.verdict is not None:
        yield "<ul>" + "".join(f"<li>{_text(reason)}</li>" for reason in night.record.verdict.reasons) + "</ul>"
    else:
        yield f"<p>{_text(night.record.outcome or 'The run is not finished.')}</p>"
    rows = []
    for name, title in (
        ("loss", "loss, nats per byte"),
        ("exact", "first line exactly right"),
        ("similarity", "similarity of the first line"),
        ("stops", "stops where it should"),
        ("general_loss", "loss on the general set"),
    ):
        values = [night.figure(who, name) for who in WHO]
        if any(value is not None for value in values):
            rows.append((title, *("" if value is None else f"{value:.4g}" for value in values)))
    if rows:
        yield _table(("", *(NAMES[who] for who in WHO)), rows)


def _nights(nights: Iterable[Night]) -> Iterator[str]:
    rows = []
    for night in list(nights)[-N_NIGHTS:][::-1]:
        record = night.record
        began = datetime.fromtimestamp(record.began).strftime("%d %b %H:%M")
        gain = "" if night.gain is None else f"{night.gain:+.1%}"
        minutes = f"{sum(record.seconds.values()) / 60:.1f}"
        memory = f"{record.peak_memory_bytes / 1e9:.2f}" if record.peak_memory_bytes else ""
        rows.append((began, record.reason.value, record.outcome or record.stage.value, gain, minutes, memory))
    if rows:
        yield "<h2>Nights</h2>"
        yield _table(("began", "kind", "outcome", "gain", "minutes", "peak GB"), rows, n_text=3)


def _acceptance(before: Day | None, after: Day | None) -> Iterator[str]:
    rows = []
    for name, group in (("base", before), ("personal adapters", after)):
        if group is not None:
            kept = "" if group.kept is None else f"{group.kept:.0%}"
            rows.append((name, str(group.n_shown), f"{group.rate:.0%}", kept))
    if rows:
        yield "<h2>What you did with suggestions</h2>"
        yield _table(("with", "seen", "accepted", "kept"), rows)


def _folders(night: Night | None) -> Iterator[str]:
    if night is None or night.learnt is None:
        return
    yield "<h2>What it learnt from</h2>"
    learnt = night.learnt
    yield f"<p>{learnt.n_train} edits trained on, {learnt.n_pool} held out to judge with.</p>"
    rows = sorted(learnt.folders.items(), key=lambda item: -item[1])[:N_FOLDERS]
    yield _table(("folder", "edits"), [(folder, str(n)) for folder, n in rows])


def _counts(title: str, columns: tuple[str, str], counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        yield f"<h2>{_text(title)}</h2>"
        yield _table(columns, [(name, str(n)) for name, n in sorted(counts.items(), key=lambda item: -item[1])])


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], n_text: int = 1) -> str:
    """Columns after the first `n_text` are numbers."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        classes = ("" if n < n_text else ' class="n"' for n in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{c}>{_text(t)}</{tag}>" for c, t in zip(classes, cells, strict=True)) + "</tr>"

    return f"<table>{row(columns, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _text(value: str) -> str:
    """Escaped; what UTF-8 cannot carry is replaced."""
    return escape(value.encode("utf-8", "replace").decode("utf-8"))
