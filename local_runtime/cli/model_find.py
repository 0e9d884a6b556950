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

from local_runtime.model.stores import Found, find_models, places_looked_at

EXAMPLES = """\b
Examples:
  understudy model find                      Ollama, LM Studio, llama.cpp, the Hugging Face cache, MLC, Jan, GPT4All
  understudy model find ~/models             also this folder
  understudy model find --json | jq -r '.[] | select(.problem == "") | .reference'
"""


@click.command("find", epilog=EXAMPLES)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def find(folders: tuple[Path, ...], as_json: bool) -> None:
    """List the models that other programs keep here, or that lie in FOLDERS. Nothing is changed."""
    with Console(stderr=True).status("looking") as status:
        found = find_models(folders, lambda name: status.update(escape(f"looking at {name}")))
    if as_json:
        click.echo(json.dumps([_row(one) for one in found]))
        return
    if not found:
        click.echo("no models in " + ", ".join(map(str, places_looked_at(folders))))
        click.echo("to download one: understudy setup")
        return
    table = Table(Column("model", overflow="fold"), "size", "quantisation", "fills the middle", "runs here")
    for one in found:
        fills = "" if one.problem and not one.architecture else "yes" if one.fills_in_the_middle else "no"
        runs = escape(one.problem) if one.problem else "yes"
        size = decimal(one.size_bytes) if one.size_bytes else ""
        table.add_row(escape(one.model.reference), size, escape(one.quantization), fills, runs)
    Console(soft_wrap=True).print(table)
    click.echo("to use one: understudy model import MODEL")


def _row(one: Found) -> dict[str, object]:
    facts = asdict(one)
    del facts["model"]
    return {"reference": one.model.reference, "path": str(one.model.path), "licence": one.model.license_name} | facts
