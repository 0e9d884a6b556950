"""`understudy lsp`, `why`, `stats` and `settings`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime

import click

from local_runtime.records.outcomes import OutcomeLog, database


@click.command(epilog="\b\nExample, for an editor's configuration:\n  understudy lsp --client neovim")
@click.option("--client", default="editor", show_default=True, help="Name by which the runtime knows this editor.")
@click.option(
    "--log-level", type=click.Choice(["error", "warning", "info", "debug"]), default="warning", show_default=True
)
def lsp(client: str, log_level: str) -> None:
    """Run the language server on standard input and output. Editors start it; people need not."""
    from lsp_server.server import serve  # noqa: PLC0415 - the other commands need no protocol

    serve(client, log_level)


@click.command(epilog="\b\nExamples:\n  understudy why\n  understudy why -n 50 --json")
@click.option("-n", "--number", default=10, show_default=True, help="How many of the last requests to tell about.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def why(number: int, as_json: bool) -> None:
    """Tell why there was nothing: the last requests, each with its reason in a sentence."""
    from lsp_server.skip import Skip  # noqa: PLC0415

    with _log() as log:
        answers = list(log.answers(last=number))
    if as_json:
        click.echo(json.dumps([asdict(answer) for answer in answers]))
        return
    for answer in answers:
        at = datetime.fromtimestamp(answer.at).astimezone().strftime("%H:%M:%S")
        reason = (
            Skip(answer.skip).sentence
            if answer.skip in set(Skip)
            else f"Shown ({answer.source}, {answer.latency_ms:.0f} ms)."
        )
        click.echo(f"{at}  {answer.path or 'a new document'}:{answer.line + 1}  {reason}")
    if not answers:
        click.echo("No editor has asked yet.")


@click.command(epilog="\b\nExamples:\n  understudy stats\n  understudy stats --days 7 --json")
@click.option("--days", default=30, show_default=True, help="How far to look back.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def stats(days: int, as_json: bool) -> None:
    """Show acceptance, kept rate, characters saved and latency, from what is stored on this machine."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from lsp_server.stats import Acceptance, summary  # noqa: PLC0415

    since = time.time() - days * 86_400
    with _log() as log:
        found = summary(log.outcomes(since), log.answers(since))
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    groups: dict[str, Acceptance] = {"all": found.total, **found.by_language}
    groups |= {f"adapter {name[:12]}": group for name, group in found.by_adapter.items()}
    table = Table(
        "", "shown", "accepted", "typed", "kept", "characters saved", title=f"Suggestions of the last {days} days"
    )
    for name, group in groups.items():
        kept = "" if group.kept_rate is None else f"{group.kept_rate:.0%}"
        table.add_row(name, str(group.n_shown), f"{group.rate:.0%}", str(group.n_typed), kept, str(group.n_chars_saved))
    times = Table("answered by", "times", "p50 ms", "p95 ms", title="From key to suggestion")
    for name, latency in found.latency.items():
        times.add_row(name, str(latency.n), f"{latency.p50_ms:.0f}", f"{latency.p95_ms:.0f}")
    silent = Table("nothing was shown", "times")
    for name, count in found.skips.items():
        silent.add_row(name.replace("_", " "), str(count))
    Console().print(table, times, silent)


@click.command(epilog="\b\nExamples:\n  understudy settings\n  understudy settings --json")
@click.option("--json", "as_json", is_flag=True, help="The declaration, as editors' manifests are made from it.")
def settings(as_json: bool) -> None:
    """List every setting of the language server, with type, default and meaning."""
    from lsp_server.settings import declaration  # noqa: PLC0415

    declared = declaration()
    if as_json:
        click.echo(json.dumps(declared, indent=2))
        return
    for one in declared:
        limits = f", {one['minimum']} to {one['maximum']}" if one["minimum"] is not None else ""
        unit = f" {one['unit']}" if one["unit"] else ""
        click.echo(f"{one['key']} = {json.dumps(one['default'])}   ({one['type']}{limits}{unit})\n    {one['doc']}")


@contextmanager
def _log() -> Iterator[OutcomeLog]:
    with closing(OutcomeLog(database())) as log:
        yield log
