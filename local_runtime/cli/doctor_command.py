"""`understudy doctor`."""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table

from local_runtime.cli.doctor import Finding, findings

EXAMPLES = """\b
Examples:
  understudy doctor                           what works here, and what to do about the rest
  understudy doctor --run                     compute something, and compare the GPU with the CPU
  understudy doctor --json | jq '.[] | select(.state == "bad")'
"""
MARKS = {"ok": "[green]ok", "note": "[yellow]note", "bad": "[red]bad"}


@click.command(epilog=EXAMPLES)
@click.option("--run", is_flag=True, help="Also run the chosen model on the CPU and on the GPU, and compare.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line: a list of area, state, text and remedy.")
def doctor(run: bool, as_json: bool) -> None:
    """What works on this machine, and the command that mends what does not. Exit status 1 if something is bad."""
    found = list(findings())
    if run:
        from local_runtime.cli.doctor_self_test import self_test  # noqa: PLC0415  only this needs an engine

        with Console(stderr=True).status("running the model"):
            found += self_test()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _print(found)
    if any(finding.state == "bad" for finding in found):
        sys.exit(1)


def _print(found: list[Finding]) -> None:
    table = Table.grid(padding=(0, 2))
    for finding in found:
        table.add_row(MARKS[finding.state], finding.area, finding.text)
        if finding.remedy:
            table.add_row("", "", f"[bold]{finding.remedy}")
    Console(highlight=False).print(table)
