"""`understudy train`: what training will take, and training by hand, without a judge and without anything that serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from local_runtime.errors import NotReady, RuntimeFault
from local_runtime.pip_command import install_extra
from local_runtime.places import folder, places
from trainer.tuning.recipe import TRAINED

if TYPE_CHECKING:
    from local_runtime.model.model_folder import ModelFolder
    from trainer.edits import Example
    from trainer.tuning.memory import Estimate
    from trainer.tuning.recipe import Recipe

MISSING = "training needs PyTorch and PEFT, which are not installed"
EXAMPLES = """\b
Examples:
  understudy train --estimate                    memory and minutes, measured here, before anything is trained
  understudy train                               on your saved edits; nothing serves it yet
  understudy train --preset rebuild --out ~/lora another recipe, another place
Presets: first-night, warm-night, rebuild, starcoder-qlora (a big GPU).
"""


@click.command(epilog=EXAMPLES)
@click.option("--estimate", "only_estimate", is_flag=True, help="Show what it will take, and train nothing.")
@click.option("--preset", "preset_name", metavar="NAME", default="first-night", show_default=True, help="The recipe.")
@click.option("--model", "model_name", metavar="NAME", help="An imported model (default: the one that serves).")
@click.option("--device", type=click.Choice(["cpu", "mps", "cuda"]), help="Where (default: the best there is).")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="At most so many steps.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where the adapter and its state go.")
def train(
    *,
    only_estimate: bool,
    preset_name: str,
    model_name: str | None,
    device: str | None,
    steps: int | None,
    out: Path | None,
) -> None:
    """Train an adapter on what was saved in the folders you named, now. To judge and serve one: understudy learn now."""
    model, recipe = _chosen(model_name, preset_name, steps)
    console = Console(highlight=False)
    examples = _examples(model, recipe) if not only_estimate else []
    if only_estimate:
        _show_estimate(console, model, recipe, device)
        return
    if not examples:
        raise NotReady(
            "there is nothing to learn from: no edits are in the journal", "understudy learn on PATH --since 90d"
        )
    run = folder((out or places().data / TRAINED / f"{model.path.name}-{recipe.name}").expanduser().absolute())
    _train(console, model, recipe, examples, run=run, device=device)
    console.print(f"The adapter is in {run / 'adapter'}; nothing serves it.", soft_wrap=True)
    console.print("To train, judge and serve in one go: [bold]understudy learn now[/bold]")
    console.print(
        f"To try this one unjudged: [bold]understudy adapter import {run / 'adapter'} --name personal-try[/bold]",
        soft_wrap=True,
    )


def _chosen(model_name: str | None, preset_name: str, steps: int | None) -> tuple[ModelFolder, Recipe]:
    """The model and the recipe. Raises RuntimeFault where the `train` extra is missing, and for unknown names."""
    try:
        import peft  # noqa: F401, PLC0415
        import torch  # noqa: F401, PLC0415
    except ImportError:
        raise RuntimeFault(MISSING, install_extra("train")) from None
    from dataclasses import replace  # noqa: PLC0415

    from local_runtime.client.options import read_options  # noqa: PLC0415
    from local_runtime.daemon.serving import model_here  # noqa: PLC0415
    from local_runtime.model import registry  # noqa: PLC0415
    from local_runtime.model.model_folder import ModelFolder  # noqa: PLC0415
    from trainer.tuning.recipe import preset  # noqa: PLC0415

    recipe = preset(preset_name)
    if steps is not None:
        recipe = replace(recipe, max_steps=steps)
    name = model_name or model_here(read_options())
    return ModelFolder.open(registry.find(name)), recipe


def _examples(model: ModelFolder, recipe: Recipe) -> list[Example]:
    """The journal's examples, all edits alike."""
    from contextlib import closing  # noqa: PLC0415
    from dataclasses import replace  # noqa: PLC0415

    from local_runtime.prompts.fim import FimTokenizer  # noqa: PLC0415
    from trainer.collect.journal import Journal, default_path  # noqa: PLC0415
    from trainer.examples.dataset import NIGHTLY, REBUILD, mixture, split  # noqa: PLC0415

    if not default_path().exists():
        return []
    with closing(Journal()) as journal:
        edits = list(journal.edits())
    to_learn, _ = split(edits)
    mix = REBUILD if recipe.name == "rebuild" else replace(REBUILD, max_examples=NIGHTLY.max_examples)
    return mixture(to_learn, FimTokenizer.open(model.path), recipe.seed, mix=mix, known=edits)


def _show_estimate(console: Console, model: ModelFolder, recipe: Recipe, device: str | None) -> None:
    """Memory by part, and minutes, from a probe of some seconds."""
    from trainer.tuning.memory import estimate  # noqa: PLC0415

    with console.status("measuring for a few seconds ..."):
        found = estimate(model, recipe, device)
    table = Table("part", "memory", title=f"{model.path.name}, {recipe.name}, {_place(found)}")
    for part, n_bytes in found.bytes_by_part.items():
        table.add_row(part, decimal(n_bytes))
    table.add_row("together", decimal(found.total_bytes), style="bold")
    console.print(table)
    console.print(
        f"At most {found.n_steps} steps, {found.n_tokens:,} tokens, {found.tokens_per_second:,.0f} tokens a second here: "
        f"{found.minutes:.1f} minutes."
    )


def _train(
    console: Console, model: ModelFolder, recipe: Recipe, examples: list[Example], *, run: Path, device: str | None
) -> None:
    """Train with a bar; Ctrl-C leaves the state, and the same command goes on."""
    from trainer.scarce_memory import memory_faults  # noqa: PLC0415
    from trainer.tuning.placement import place  # noqa: PLC0415
    from trainer.tuning.tune import RECORD, tune  # noqa: PLC0415

    words = TextColumn("{task.description}")
    bar = Progress(
        words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=console
    )
    with bar, memory_faults():
        task = bar.add_task(f"{len(examples)} examples", total=None)
        for report in tune(model, examples, recipe, run, placement=place(model, recipe, device)):
            bar.update(task, total=report.n_steps, completed=report.step, description=f"loss {report.loss:.3f}")
    took = json.loads((run / RECORD).read_text())
    console.print(
        f"It took {took['seconds'] / 60:.1f} minutes in {took['steps']} steps, {took['tokens']:,} tokens, and "
        f"{decimal(took['peak_bytes'])} of memory at most."
    )


def _place(found: Estimate) -> str:
    placement = found.placement
    base = "NF4 base" if placement.nf4 else str(placement.dtype).removeprefix("torch.")
    return f"{placement.device}, {base}" + (", activations computed twice" if placement.checkpointing else "")
