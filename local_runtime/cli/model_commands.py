"""`understudy model`: import, get, pull, use, list, info, remove, compile."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from local_runtime.cli.model_find import find
from local_runtime.cli.model_get import get
from local_runtime.cli.model_import import (
    import_,
    name_option,
    progress_bar,
    prompt_layout,
    quantization_option,
    run_import,
    tell_imported,
)
from local_runtime.cli.model_use import use
from local_runtime.errors import BadRequest, RuntimeFault
from local_runtime.model import registry
from local_runtime.model.chat_config import why_mlc_cannot_serve
from local_runtime.model.chosen import BRING_ONE, chosen_model
from local_runtime.model.memory import kv_bytes
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import DEFAULT_QUANTIZATION

INFO_TOKENS = 4096


@click.group()
def model() -> None:
    """Bring models, look at them, remove them."""


model.add_command(import_)
model.add_command(get)
model.add_command(use)
model.add_command(find)


@model.command(epilog="Example: understudy model pull Qwen/Qwen2.5-Coder-0.5B")
@click.argument("repo", metavar="ORG/NAME")
@name_option
@quantization_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--keep", is_flag=True, help="Keep the float weights in the cache after importing.")
def pull(repo: str, name: str | None, quantization: str | None, yes: bool, keep: bool) -> None:
    """Fetch ORG/NAME from the hub (HF_ENDPOINT names another one) and import it. What is broken off goes on."""
    # Read when the library is imported; and only this command may import it.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from local_runtime.model import hub  # noqa: PLC0415

    found = hub.look_up(repo)
    table = Table("file", "size", title=f"{repo}, licence: {found.license or 'not said'}")
    for file in found.files:
        table.add_row(file.name, decimal(file.size_bytes))
    table.add_row("together", decimal(found.size_bytes))
    Console().print(table)
    if not yes:
        click.confirm(f"fetch {decimal(found.size_bytes)}?", abort=True)
    name = name or f"{repo.split('/')[1]}-{quantization or DEFAULT_QUANTIZATION}"
    registry.check_new(name)
    with progress_bar("fetching") as bar:
        task = bar.add_task(repo, total=found.size_bytes)
        path = hub.download(found, lambda n_bytes: bar.advance(task, n_bytes))
    with progress_bar("importing") as bar:
        imported = run_import(
            path, name, quantization, bar, source=f"{repo}@{found.commit}", license_name=found.license
        )
    if not keep:
        hub.forget(found)
    tell_imported(imported)


@model.command("list")
def list_() -> None:
    """All models, with their sizes. The one that answers is marked."""
    table = Table("", "model", "decoder", "quantization", "size")
    chosen = _chosen()
    for name in registry.names():
        mark = "*" if name == chosen else ""
        try:
            opened = ModelFolder.open(registry.find(name))
        except RuntimeFault as fault:
            table.add_row(mark, name, "", "", f"unusable: {fault.message}")
        else:
            table.add_row(mark, name, opened.config.family, opened.quantization.name, decimal(opened.weight_bytes))
    Console().print(table if table.row_count else f"no models yet; bring one with: {BRING_ONE}")


@model.command(epilog="Example: understudy model info Qwen2.5-Coder-0.5B-q8f16_g32")
@click.argument("name")
def info(name: str) -> None:
    """What a model is, what it takes, and who can serve it. NAME is a model's name or the path of an MLC folder."""
    opened = ModelFolder.open(registry.find(name))
    config, note = opened.config, opened.note
    reasons = why_mlc_cannot_serve(config, opened.quantization)
    n_tokens = min(INFO_TOKENS, config.context_tokens)
    kv, weights = kv_bytes(config, n_tokens), opened.weight_bytes
    heads = f"{config.n_heads} heads of {config.head_dim}, {config.n_kv_heads} for keys and values"
    rows = {
        "folder": opened.path,
        "decoder": f"{config.family}: {config.n_layers} layers, hidden {config.hidden_size}, {heads}",
        "vocabulary": f"{config.vocab_size:,} tokens",
        "context": f"{config.context_tokens:,} tokens",
        "layout": prompt_layout(opened.path)[1],
        "rope": f"theta {config.rope_theta:g}, scaling {config.rope_scaling.kind}",
        "quantization": opened.quantization.name,
        "weights": decimal(weights),
        "memory": f"{decimal(weights + kv)}: weights, and {decimal(kv)} of keys and values for {n_tokens:,} tokens",
        "mlc_llm": f"cannot serve it: {'; '.join(reasons)}" if reasons else "can serve this folder",
        "kept": (note.kept if note else "") or "quantised here",
        "source": (note.source if note else "") or "made by other tools",
        "licence": (note.license if note else "") or "not said",
        "base hash": opened.base_hash,
    }
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        table.add_row(key, str(value))
    Console(soft_wrap=True).print(table)


@model.command(epilog="Example: understudy model remove Qwen2.5-Coder-0.5B-q8f16_g32")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete a model."""
    if not yes:
        answers = ", the one that answers in your editors" if name == _chosen() else ""
        click.confirm(f"delete {registry.find(name)}{answers}?", abort=True)
    click.echo(f"removed {name}: {decimal(registry.remove(name))} freed")
    if _chosen() == name:
        click.echo("config.toml still names it; choose another one with: understudy model use NAME", err=True)


@model.command("compile", epilog="Example: understudy model compile Qwen2.5-Coder-0.5B-q8f16_g32")
@click.argument("name")
@click.option("--target", type=click.Choice(["auto", "cpu", "cuda", "metal"]), default="auto", show_default=True)
@click.option("--arch", help="The NVIDIA GPU to compile for, sm_75 to sm_90; by default the one that is here.")
@click.option(
    "--source",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the source of the GPU's kernels to this file instead; works on any machine.",
)
def compile_(name: str, target: str, arch: str | None, source: Path | None) -> None:
    """Compile a model's library for this machine now, rather than when it is first used.

    A second model of the same shape and quantization finds it there. CUDA and Metal code is compiled, not yet run on such
    hardware by those who wrote it: `understudy doctor --run` tells whether it works on yours.
    """
    from local_runtime.devices.target import CPU, choose_target  # noqa: PLC0415
    from local_runtime.tvm.run import library as libraries  # noqa: PLC0415  only this command compiles

    opened = ModelFolder.open(registry.find(name))
    device = choose_target(target, arch)
    if source is not None and device.kind == CPU:
        raise BadRequest("a CPU's kernels have no source: they are compiled to machine code", "add --target cuda")
    with Console(stderr=True).status("compiling") as status:
        if source is not None:
            libraries.write_device_source(opened.config, opened.quantization, device, source, status.update)
            click.echo(f"wrote {device.name} kernels of {name}: {source}")
            return
        library = libraries.ensure_library(opened.config, opened.quantization, device, progress=status.update)
    click.echo(f"compiled {name} for {device.name}: {library.path}")


def _chosen() -> str:
    """The model that answers, or nothing while there is none."""
    try:
        return chosen_model()
    except RuntimeFault:
        return ""
