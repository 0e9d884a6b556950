"""`understudy report`."""

from __future__ import annotations

import time
import webbrowser
from collections import Counter
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console

from local_runtime.places import folder, places
from local_runtime.records.outcomes import database

EXAMPLES = """\b
Examples:
  understudy report                  a few lines here, and the page's path
  understudy report --open           the page in your browser
  understudy report --days 7 --out week.html
"""


@click.command(epilog=EXAMPLES)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the page.")
@click.option("--days", type=click.IntRange(1), default=60, show_default=True, help="How far to look back.")
def report(open_it: bool, out: Path | None, days: int) -> None:
    """What was learnt, what it brought, and what was refused: one local page, and a summary here."""
    from trainer.nightly.clock import waits  # noqa: PLC0415 - `--help` needs none of this
    from trainer.nightly.runs import Runs  # noqa: PLC0415
    from trainer.report.evidence import gather  # noqa: PLC0415
    from trainer.report.page import page  # noqa: PLC0415
    from trainer.report.plots import plots  # noqa: PLC0415
    from trainer.report.summary import summary  # noqa: PLC0415

    now = time.time()
    evidence = gather(Runs(places().data / "runs"), database(), _left_out(), waits(), now - days * 86_400)
    console = Console()
    console.print(summary(evidence))
    path = (out or folder(places().data) / "report.html").absolute()
    path.touch(mode=0o600)
    path.write_text(page(evidence, plots(evidence), now), "utf-8")
    console.print(f"the whole report: {path}", soft_wrap=True, highlight=False)
    if open_it and not webbrowser.open(path.as_uri()):
        console.print("no browser could be started here; open the file yourself")


def _left_out() -> dict[str, int]:
    """How often each rule of hygiene left something out."""
    from trainer.collect.journal import Journal, default_path  # noqa: PLC0415

    counts: Counter[str] = Counter()
    if default_path().exists():
        with closing(Journal()) as journal:
            for refused in journal.refusals():
                counts[refused.reason.value] += refused.n
    return dict(counts)
