"""`understudy model get`: a model of the catalogue, by its name."""

from __future__ import annotations

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from local_runtime.cli.model_import import progress_bar, quantization_option, run_import, tell_imported
from local_runtime.model import registry
from local_runtime.model.catalogue import DataPackages, Entry, HubFile, entries, find
from local_runtime.model.fetching import discard, fetch
from local_runtime.model.quantization import DEFAULT_QUANTIZATION

EXAMPLES = """\b
Examples:
  understudy model get                                       what there is
  understudy model get qwen2.5-coder-0.5b                    shows what it is, asks, fetches and imports it
  understudy model get qwen2.5-coder-1.5b -q q4f16_1 --yes   in 4 bits, without a question
"""
CONTEXT_TOKENS = 4096


@click.command("get", epilog=EXAMPLES)
@click.argument("name", required=False)
@quantization_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--offline", is_flag=True, help="Take it from this machine alone: from Ollama, LM Studio or a cache.")
@click.option("--keep", is_flag=True, help="Keep the fetched file in the cache after importing.")
@click.option("--list", "list_", is_flag=True, help="Show the catalogue.")
def get(*, name: str | None, quantization: str | None, yes: bool, offline: bool, keep: bool, list_: bool) -> None:
    """Fetch the model NAME of the catalogue and import it. An interrupted fetch goes on where it stopped."""
    if list_ or name is None:
        Console(soft_wrap=True).print(catalogue_table())
        return
    entry, quantization = find(name), quantization or DEFAULT_QUANTIZATION
    imported = entry.model_name(quantization)
    if imported in registry.names():
        click.echo(f"{imported} is imported already: {registry.find(imported)}")
        return
    registry.check_new(imported)
    Console(soft_wrap=True).print(description(entry, quantization, offline))
    if not yes:
        click.confirm(f"get {entry.title}?", abort=True)
    with progress_bar("fetching") as bar:
        task = bar.add_task(entry.name, total=None)
        fetched = fetch(
            entry,
            lambda done_bytes, all_bytes: bar.update(task, completed=done_bytes, total=all_bytes),
            offline,
            entry.weight_bytes(quantization),
        )
    click.echo(f"from {fetched.source}")
    with progress_bar("importing") as bar:
        folder = run_import(
            fetched.path, imported, quantization, bar, source=fetched.source, license_name=fetched.license_name
        )
    if not keep:
        discard(fetched)
    tell_imported(folder)


def catalogue_table() -> Table:
    """All entries with what decides between them."""
    table = Table("model", "parameters", "download", "in int8", "in 4 bits", "licence", "tried by us")
    for entry in entries():
        table.add_row(
            entry.name,
            f"{entry.n_parameters / 1e9:.2g}B",
            decimal(entry.download_bytes),
            decimal(entry.weight_bytes(DEFAULT_QUANTIZATION)),
            decimal(entry.weight_bytes("q4f16_1")),
            entry.license_text,
            "yes" if entry.tried else "no",
        )
    return table


def description(entry: Entry, quantization: str, offline: bool) -> Table:
    """What is about to be fetched: licence, sizes and sources, and whether its bytes can be checked."""
    weights, kv = entry.weight_bytes(quantization), entry.kv_bytes_per_token * CONTEXT_TOKENS
    rows = {
        "model": entry.title,
        "licence": entry.license_text,
        "download": f"{decimal(entry.download_bytes)}, "
        + (f"checked by sha256 {entry.sha256}" if entry.sha256 else "about; its hash is not known"),
        "becomes": f"{entry.model_name(quantization)}, {decimal(weights)}",
        "memory": f"{decimal(weights + kv)}: weights, and {decimal(kv)} of keys and values for {CONTEXT_TOKENS:,} tokens",
        "from": "the first that has it: " + ", ".join(sources(entry, offline)),
        "tried": "by us" if entry.tried else "not by us: its sizes and shape are as published",
    }
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        table.add_row(key, value)
    return table


def sources(entry: Entry, offline: bool) -> list[str]:
    """Where it is looked for, in order."""
    asked = [source for source in entry.sources if not (offline and isinstance(source, HubFile | DataPackages))]
    return list(dict.fromkeys(map(str, asked)))
