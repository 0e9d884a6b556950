"""`understudy model find`: what other programs keep on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Column, Table

from local_runtime.model.stores import Found, find_models, places_looked_at, printable

EXAMPLES = """\b
Examples:
  understudy model find                      Ollama, LM Studio, llama.cpp, the Hugging Face cache, MLC, Jan, GPT4All
  understudy model find ~/models             also this folder
  understudy model find --json | jq -r '.[] | select(.problem == "") | .reference'
"""
REASON_CHARS = 30
"""So wide at least is the last column."""
OTHER_CHARS = 50
"""So wide are the columns between, with their lines."""


@click.command("find", epilog=EXAMPLES)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def find(folders: tuple[Path, ...], as_json: bool) -> None:
    """List the models that other programs keep here, or that lie in FOLDERS. Nothing is changed."""
    notes: list[str] = []
    with Console(stderr=True).status("looking") as status:
        found = find_models(folders, lambda name: status.update(f"looking at {_shown(name)}"), notes.append)
    for note in dict.fromkeys(notes):
        click.echo(printable(note), err=True)
    if as_json:
        click.echo(json.dumps([_row(one) for one in found]))
        return
    if not found:
        click.echo("no models in " + ", ".join(printable(str(place)) for place in places_looked_at(folders)))
        click.echo("to download one: understudy setup")
        return
    click.echo(_table(found), nl=False)
    click.echo("to use one: understudy model import MODEL")


def _table(found: list[Found]) -> str:
    """As wide as its longest reference needs, whatever the terminal's width: a folded one could not be pasted."""
    console = Console()
    longest = max(len(printable(one.model.reference)) for one in found)
    table = Table(Column("model", no_wrap=True), "size", "quantisation", "fills the middle", "runs here")
    for one in found:
        fills = "" if one.problem and not one.architecture else "yes" if one.fills_in_the_middle else "no"
        size = decimal(one.size_bytes) if one.size_bytes else ""
        table.add_row(_shown(one.model.reference), size, _shown(one.quantization), fills, _shown(one.problem) or "yes")
    wide = Console(width=max(console.width, longest + OTHER_CHARS + REASON_CHARS), force_terminal=console.is_terminal)
    with wide.capture() as capture:
        wide.print(table, crop=False)
    return capture.get()


def _shown(text: str) -> str:
    return escape(printable(text))


def _row(one: Found) -> dict[str, object]:
    facts = asdict(one)
    del facts["model"], facts["license_name"]
    return {"reference": one.model.reference, "path": str(one.model.path), "licence": one.license_name} | facts
