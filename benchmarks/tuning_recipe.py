"""What a recipe gains on real histories: releases of packages, taken as days, that the tests' tiny model was not trained on.

    pip download --no-deps --only-binary=:all: --dest RELEASES attrs==25.1.0     # several releases of each package
    python benchmarks/tuning_recipe.py RELEASES --package attrs --package httpx
    python benchmarks/tuning_recipe.py RELEASES --package httpx --vary rate=1e-4,3e-4,1e-3 --vary rank=8,16

For each package: all releases but the last are learnt from, and what the last one inserted is asked for. Losses are nats per byte
of the middles and their ends, in PyTorch on the de-quantised weights, at the runtime's own prompt; `general` is a fixed part of the
frozen general set. `--vary` changes one field of the preset at a time. Prints a line per recipe, and one JSON line at the end.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_model

from local_runtime.general_set import general_holes
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import DEFAULT_BUDGET, FimTokenizer
from trainer.batches import MicroBatch, pad_together
from trainer.edits import EditEvent, Example, Kind
from trainer.examples.dataset import REBUILD, held_out_examples, mixture
from trainer.examples.identity import example_key, luck
from trainer.tuning.base import Placement, add_adapter, load_base, parent_of
from trainer.tuning.placement import place
from trainer.tuning.recipe import Recipe, preset
from trainer.tuning.samples import judged
from trainer.tuning.tune import autocast, tune, weighted_nats

DAY = 86_400.0
N_TESTS, N_GENERAL = 120, 120
MICRO_TOKENS = 4096


def releases(archives: Path, package: str) -> list[dict[str, str]]:
    """The Python files of every release, oldest first."""
    found = [path for path in archives.glob("*.whl") if path.name.lower().startswith(f"{package}-")]
    contents = []
    for path in sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name.split("-")[1])]):
        with zipfile.ZipFile(path) as wheel:
            names = sorted(name for name in wheel.namelist() if name.endswith(".py"))
            contents.append({name: wheel.read(name).decode("utf-8", "replace") for name in names})
    return contents


def days(package: str, contents: Sequence[dict[str, str]]) -> Iterator[list[EditEvent]]:
    """What each release changed."""
    for number, (before, after) in enumerate(pairwise(contents)):
        yield [
            EditEvent(f"/{package}/{name}", f"/{package}", "python", before.get(name, ""), text, number * DAY)
            for name, text in after.items()
            if text != before.get(name, "")
        ]


class History:
    """One package: what is learnt from, and what is asked."""

    def __init__(self, package: str, archives: Path, fim: FimTokenizer, max_examples: int) -> None:
        *learnt, last = [day for day in days(package, releases(archives, package)) if day]
        known = [edit for day in learnt for edit in day]
        self.name = package
        self.train = mixture(known, fim, 0, mix=replace(REBUILD, max_examples=max_examples))
        self.tests = _some(held_out_examples(last, known + last), N_TESTS)


class Meter:
    """Nats per byte of examples under a model in PyTorch."""

    def __init__(self, fim: FimTokenizer, placement: Placement, context_tokens: int) -> None:
        self._fim, self._placement, self._context_tokens = fim, placement, context_tokens

    @torch.no_grad()
    def loss(self, adapted: nn.Module, examples: Sequence[Example]) -> float:
        """The end of a middle counts as one byte."""
        nats = 0.0
        for batch in self._batches(examples):
            with autocast(self._placement):
                nats += weighted_nats(adapted, batch.token_ids, batch.weights).item()
        return nats / sum(len(one.middle.encode()) + 1 for one in examples)

    def _batches(self, examples: Sequence[Example]) -> list[MicroBatch]:
        samples = judged(self._fim, examples, DEFAULT_BUDGET, self._context_tokens)
        return pad_together(samples, MICRO_TOKENS, self._fim.end_id)


def _some(examples: Sequence[Example], n: int) -> list[Example]:
    return sorted(examples, key=lambda one: luck("test", example_key(one)))[:n]


def varied(recipe: Recipe, vary: Sequence[str]) -> Iterator[Recipe]:
    """The recipe itself, then one field changed at a time."""
    yield recipe
    kinds = {field.name: type(getattr(recipe, field.name)) for field in fields(recipe)}
    for one in vary:
        name, _, values = one.partition("=")
        for value in values.split(","):
            made: Any = tuple(value.split("+")) if kinds[name] is tuple else kinds[name](value)
            yield replace(recipe, name=f"{name}={value}", **{name: made})


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("archives", type=click.Path(exists=True, path_type=Path))
@click.option("--package", "packages", multiple=True, required=True)
@click.option("--preset", "preset_name", default="first-night", show_default=True)
@click.option("--vary", multiple=True, metavar="FIELD=VALUE,…")
@click.option("--max-examples", default=400, show_default=True)
def main(archives: Path, packages: tuple[str, ...], preset_name: str, vary: tuple[str, ...], max_examples: int) -> None:
    """Compare recipes."""
    model = ModelFolder.open(registry.find(tiny_model.ensure_imported()))
    fim = FimTokenizer.open(model.path)
    histories = [History(package, archives, fim, max_examples) for package in packages]
    general = _some([Example(one.hole, one.middle, 0.0, kind=Kind.GENERAL) for one in general_holes()], N_GENERAL)
    recipe = preset(preset_name)
    placement = place(model, recipe, "cpu")
    meter = Meter(fim, placement, model.config.context_tokens)
    base = load_base(model, placement)
    before = {one.name: meter.loss(base, one.tests) for one in histories}
    general_before = meter.loss(base, general)
    found = []
    for other in varied(recipe, vary):
        for history in histories:
            with tempfile.TemporaryDirectory() as run:
                began = time.monotonic()
                reports = list(tune(model, history.train, other, Path(run) / "run", placement=placement))
                seconds = time.monotonic() - began
                _, low_ranks = parent_of(Path(run) / "run" / "adapter", model, other)
            adapted = add_adapter(load_base(model, placement), other, low_ranks)
            own = meter.loss(adapted, history.tests)
            found.append(
                {
                    "recipe": other.name,
                    "package": history.name,
                    "change": round(own / before[history.name] - 1, 4),
                    "general_nats": round(meter.loss(adapted, general) - general_before, 4),
                    "tokens": sum(one.n_tokens for one in reports),
                    "steps": len(reports),
                    "seconds": round(seconds, 1),
                }
            )
            click.echo(found[-1], err=True)
    click.echo(json.dumps({"base": before, "general_base": general_before, "recipes": found}))


if __name__ == "__main__":
    main()
