"""`understudy adapter`: list, use, base, strength, rollback, mix, export, import."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn
from rich.table import Table

from local_runtime.adapters.merged_weights import DTYPES
from local_runtime.adapters.mixing import MAX_WEIGHT
from local_runtime.adapters.shelf import mix_name
from local_runtime.errors import BadRequest
from trainer.adapters import exchange
from trainer.adapters.files import Record, read_record
from trainer.adapters.kinship import learnt_on_kin
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions

EXAMPLES = """\b
Examples:
  understudy adapter list                          what there is, what serves, what the gate said
  understudy adapter strength 0.6                  less of it
  understudy adapter rollback                      what served before
  understudy adapter use personal-3                a certain version
  understudy adapter base                          none at all
  understudy adapter mix personal-3=0.5 team=1     several at once
  understudy adapter export personal-3 --as safetensors ~/merged
  understudy adapter export personal-3 --as gguf ~/for-llama-cpp
  understudy adapter import ~/team-lora --name team
"""
strength_option = click.option(
    "--strength", type=click.FloatRange(0, MAX_WEIGHT), help="How much of it (default: what the gate chose, or 1)."
)


@click.group(epilog=EXAMPLES)
def adapter() -> None:
    """The personal adapters: look at them, choose one, go back, bring others. The daemon follows at once."""


@adapter.command("list", epilog="\b\nExample:\n  understudy adapter list --reasons\n")
@click.option("--reasons", is_flag=True, help="Also all that the gate said of each.")
def list_(reasons: bool) -> None:
    """All adapters, the one that serves, and the gate's verdicts."""
    versions = Versions()
    serving = versions.current()
    if problem := versions.serving.problem():
        click.echo(f"{problem}; the base serves. Choose another: understudy adapter rollback", err=True)
    table = Table("", "adapter", "rank", "judged", "loss", "base", "verdict")
    for card in versions.serving.cards():
        record = None if card.problem else read_record(versions.root / card.name)
        mark = "serves" if card.name == serving.name else ""
        words = card.problem or _words(record, reasons=reasons)
        losses = [
            f"{record.metrics[key]:.3f}" if record and key in record.metrics else ""
            for key in ("candidate.loss", "base.loss")
        ]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.judged_at)) if record else ""
        table.add_row(mark, escape(card.name), str(card.rank or ""), when, *losses, escape(words))
    console = Console()
    console.print(table if table.row_count else "no adapters yet; one is learnt by: understudy learn on FOLDER")
    console.print(
        f"{escape(serving.name or 'the base')} serves" + (f" at strength {serving.strength:g}" if serving.name else "")
    )


@adapter.command(epilog="\b\nExample:\n  understudy adapter use personal-3 --strength 0.8\n")
@click.argument("name")
@strength_option
def use(name: str, strength: float | None) -> None:
    """Serve with the adapter NAME from now on."""
    model = served_model()
    versions = Versions(base_hash=model.base_hash)
    found = versions.adapter(name)
    if kin := learnt_on_kin(found, model):
        click.echo(kin, err=True)
    record = read_record(found.path)
    if record is None:
        click.echo(f"{name} was never judged by the gate", err=True)
    elif not record.promoted:
        click.echo(f"the gate refused {name}: {' '.join(record.reasons[:1])}", err=True)
    _select(versions, name, _strength(record, strength))


@adapter.command(epilog="\b\nExample:\n  understudy adapter base\n")
def base() -> None:
    """Serve without any adapter. All of them stay on disk."""
    _select(Versions(), None, 1.0)


@adapter.command(epilog="\b\nExample:\n  understudy adapter strength 0.6\n")
@click.argument("strength", metavar="X", type=click.FloatRange(0, MAX_WEIGHT))
def strength(strength: float) -> None:
    """Serve with X times what the adapter adds: 0 is the base, 1 as it was trained."""
    versions = Versions()
    serving = versions.current()
    if serving.name is None:
        raise BadRequest("the base serves: there is no adapter whose strength could change", "understudy adapter list")
    _select(versions, serving.name, strength)


@adapter.command(epilog="\b\nExample:\n  understudy adapter rollback\n")
def rollback() -> None:
    """Serve what served before: the version that this one replaced, at its strength, or the base."""
    back = Versions().rollback()
    click.echo(f"{back.adapter} serves again at strength {back.strength:g}" if back else "the base serves again")


@adapter.command(epilog="\b\nExample:\n  understudy adapter mix personal-3=0.5 team=1\n")
@click.argument("parts", metavar="NAME=SHARE...", nargs=-1, required=True)
def mix(parts: tuple[str, ...]) -> None:
    """Serve with several adapters at once, each with its share."""
    _select(Versions(), mix_name([_part(part) for part in parts]), 1.0)


@adapter.command(
    epilog="\b\nExample:\n  understudy adapter export personal-3 --as safetensors ~/merged --dtype bfloat16\n"
)
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--as", "kind", type=click.Choice(["peft", "gguf", "safetensors"]), default="peft", show_default=True,
    help="peft: an adapter that PEFT loads. gguf: one that llama.cpp loads. safetensors: the whole model with the adapter "
    "merged into its weights.",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(list(DTYPES)), default="float16", show_default=True, help="Of merged weights."
)
@strength_option
def export(name: str, folder: Path, kind: str, dtype: str, strength: float | None) -> None:
    """Write the adapter NAME into the new FOLDER, for other programs."""
    model = served_model()
    found = Versions(base_hash=model.base_hash).adapter(name)
    wanted = _strength(read_record(found.path), strength)
    if kind == "peft":
        exchange.export_peft(found, folder, wanted)
    elif kind == "gguf":
        exchange.export_gguf(model, found, folder, wanted)
    else:
        with Progress(BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=None)
            exchange.export_merged(
                model, found, folder, wanted, dtype=dtype,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
    size = decimal(sum(file.stat().st_size for file in folder.iterdir()))
    click.echo(f"{name} at strength {wanted:g} is in {folder} ({kind}, {size})")


@adapter.command("import", epilog="\b\nExample:\n  understudy adapter import ~/team-lora --name team\n")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Its name here (default: the folder's).")
def import_(folder: Path, name: str | None) -> None:
    """Copy the PEFT LoRA in FOLDER, made for the model that serves. It does not serve until it is used."""
    model = served_model()
    versions = Versions(base_hash=model.base_hash)
    name = exchange.import_peft(folder, versions.root, model, name)
    if kin := learnt_on_kin(versions.adapter(name), model):
        click.echo(kin, err=True)
    click.echo(f"imported {name}; serve with it: understudy adapter use {name}")


def _select(versions: Versions, name: str | None, strength: float) -> None:
    told = versions.serving.select(name, strength)
    serves = f"{name} serves at strength {strength:g}" if name else "the base serves"
    click.echo(serves if told else f"{serves} from the daemon's next start on")


def _strength(record: Record | None, wanted: float | None) -> float:
    if wanted is not None:
        return wanted
    return record.strength if record is not None else 1.0


def _part(part: str) -> tuple[str, float]:
    name, equals, share = part.rpartition("=")
    try:
        return (name, float(share)) if equals else (part, 1.0)
    except ValueError:
        raise BadRequest(f"{part[:64]!r}: expected NAME=SHARE, for example personal-3=0.5") from None


def _words(record: Record | None, *, reasons: bool) -> str:
    if record is None:
        return "not judged"
    verdict = "promoted" if record.promoted else "refused"
    if record.rolled_back:
        verdict = f"rolled back: {record.rolled_back}"
    said = record.reasons if reasons else record.reasons[:1] if not record.promoted else []
    return "\n".join([verdict, *said])
