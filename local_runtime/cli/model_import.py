"""`understudy model import`, and what all commands that import share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from local_runtime.errors import RuntimeFault
from local_runtime.model import importing
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import DEFAULT_QUANTIZATION, QUANTIZATIONS
from local_runtime.model.stores import resolve
from local_runtime.prompts.fim import FimTokenizer

EXAMPLES = """\b
Examples:
  understudy model import ~/Downloads/qwen2.5-coder-1.5b-q8_0.gguf
  understudy model import ollama:qwen2.5-coder:1.5b
  understudy model import ~/Qwen2.5-Coder-0.5B --quantization q4f16_1
"""

quantization_option = click.option(
    "--quantization",
    "-q",
    type=click.Choice(list(QUANTIZATIONS)),
    help=f"q8f16_g32 is exact and fast on CPUs; q4f16_1 is half as large; q0f16 keeps the floats.  "
    f"[default: {DEFAULT_QUANTIZATION}; q4f16_1 for a GGUF file in Q4_0]",
)
name_option = click.option("--name", help="Name of the model; by default the file's and the quantization's.")


@click.command("import", epilog=EXAMPLES)
@click.argument("source")
@name_option
@quantization_option
def import_(source: str, name: str | None, quantization: str | None) -> None:
    """Import SOURCE: a GGUF file, a Hugging Face folder, or what `understudy model find` lists. MLC folders are copied as they are."""
    found = resolve(source)
    with progress_bar("importing") as bar:
        imported = run_import(found.path, name, quantization, bar, source=found.source, license_name=found.license_name)
    tell_imported(imported)


def run_import(path: Path, name: str | None, quantization: str | None, bar: Progress, **options: Any) -> Path:
    """Import with a bar; the new folder."""
    task = bar.add_task("", total=None)

    def tell(tensor: str, done_bytes: int, all_bytes: int) -> None:
        bar.update(task, description=tensor, completed=done_bytes, total=all_bytes)

    wanted = QUANTIZATIONS[quantization] if quantization else None
    return importing.import_model(path, wanted, name, progress=tell, **options)


def tell_imported(folder: Path) -> None:
    """What became of the model, on the terminal. The first one that can complete is chosen."""
    from local_runtime.model.use import adopt_if_first  # noqa: PLC0415  loads the daemon's client

    opened = ModelFolder.open(folder)
    click.echo(f"imported {folder.name}: {folder}")
    if opened.note and opened.note.kept:
        click.echo(opened.note.kept)
    if not (found := prompt_layout(folder))[0]:
        click.echo(f"but it cannot complete in an editor: {found[1]}", err=True)
    elif adopt_if_first(folder.name):
        click.echo(f"{folder.name} answers from now on")
    else:
        click.echo(f"to have it answer: understudy model use {folder.name}")


def prompt_layout(folder: Path) -> tuple[bool, str]:
    """Whether it can fill in the middle: by which family's layout, or why not."""
    try:
        return True, FimTokenizer.open(folder).family.name
    except RuntimeFault as fault:
        return False, fault.message


@contextmanager
def progress_bar(verb: str) -> Iterator[Progress]:
    """A bar over bytes on standard error."""
    columns = [TextColumn(verb), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn()]
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        yield bar
