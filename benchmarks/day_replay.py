"""DayReplay: a git history is lived through again, every day followed by a night of learning, and judged on the next day.

    python benchmarks/day_replay.py REPO --author EMAIL --other REPO2 --other-author EMAIL2 --work .cache/day_replay/NAME
    python benchmarks/day_replay.py . --author EMAIL --edits-per-day 40 …      where all was written in a few days

The first night learns from all days before the replayed ones, every later night goes on from the night before (`warm-night`),
and every tenth night an adapter is also made anew from the base (`rebuild`) to compare with. Night t sees edits up to day t; its test
is what day t+1 inserted, into the files as they stood (`hunk_examples`), with the runtime's own context of that moment. No gate
stands between: what is measured is learning. The strength of a night is chosen as the gate does, on what came before: of those at
which the general set rises by no more than the gate allows, the one that did best on earlier days; all adapters of a night are
judged at it. The wrong user's adapter has learnt all of another project, once.

Contenders are judged by the compiled int8 engine. Loss is nats per byte of what was inserted; exact lines are ends of inserted
lines, from a place inside the line on, that come out to the letter; `sure` is a paired bootstrap over days. `--scale` makes nights and
rebuilds alike smaller than the product's. Every finished night is a line of WORK/nights.jsonl: run the same command again to
go on. Prints one JSON line.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_model

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter
from local_runtime.general_set import general_holes
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.tvm.run.opening import open_engine
from trainer.collect.git_history import back_fill
from trainer.edits import EditEvent, Example, Kind
from trainer.examples.dataset import NIGHTLY, REBUILD, Mix, held_out_examples, mixture
from trainer.examples.identity import draws, example_key
from trainer.examples.repository import Repository
from trainer.examples.shapes import Shapes
from trainer.gate.judge import EngineJudge
from trainer.gate.measures import Measured, first_line, loss
from trainer.gate.thresholds import THRESHOLDS
from trainer.tuning.recipe import Recipe, preset
from trainer.tuning.tune import tune

REBUILD_EVERY = 10
MAX_TESTS = 40
"""Places of one day that are judged, and as many ends of lines; drawn by their content."""
LINES_PER_EDIT = 12
Day = list[EditEvent]


@dataclass(frozen=True, slots=True)
class Learnt:
    """An adapter and what it cost."""

    path: Path
    n_tokens: int
    seconds: float
    """In training steps."""


class Replay:
    """The model, the engine that judges, and the folder in which nights are kept."""

    def __init__(self, model: str, work: Path, scale: float, project: str) -> None:
        folder = registry.find(model)
        self.model = ModelFolder.open(folder)
        self.fim = FimTokenizer.open(folder)
        self.work = work
        self._scale = scale
        self._judge = EngineJudge(open_engine(folder), self.fim)
        others = [one for one in general_holes() if one.package != project]
        self._general = [Example(one.hole, one.middle, 0.0, kind=Kind.GENERAL) for one in others]
        self._base_general = self.general_loss(None)

    def learn(
        self, name: str, edits: Iterable[EditEvent], how: tuple[Mix, Recipe], parent: Path | None = None
    ) -> Learnt:
        """The adapter `name`, learnt now unless it is there."""
        run, (mix, recipe) = self.work / name, how
        record = run / "record.json"
        if not record.exists():
            examples = mixture(edits, self.fim, 0, mix=replace(mix, max_examples=round(mix.max_examples * self._scale)))
            deque(tune(self.model, examples, recipe, run, parent), maxlen=0)
        took = json.loads(record.read_text())
        return Learnt(run / "adapter", took["tokens"], took["seconds"])

    def judge(
        self, tests: Sequence[Example], lines: Sequence[Example], adapter: Adapter | None, strength: float
    ) -> dict[str, float]:
        """Nats and bytes of all `tests`, and how many of `lines` came out exactly."""
        return {
            "nats": self.nats(tests, adapter, strength),
            "bytes": sum(len(one.middle.encode("utf-8", "replace")) for one in tests),
            "exact": sum(
                first_line(self._judge.complete(one, adapter, strength).text) == first_line(one.middle) for one in lines
            ),
        }

    def nats(self, tests: Sequence[Example], adapter: Adapter | None, strength: float) -> float:
        """Summed over `tests`."""
        return sum(self._judge.score(one, adapter, strength).nats for one in tests)

    def best_strength(self, adapter: Adapter | None, nights: Sequence[dict]) -> tuple[float, float]:  # type: ignore[type-arg]
        """The strength for an adapter, and how much the general set rises at it, in nats per byte.

        Of the strengths that the general set bears, it is the one at which the adapters of the nights before did best on the days
        after them, at first the full one; the mildest if it bears none.
        """
        by_merit = sorted(THRESHOLDS.strengths, key=lambda at: sum(night["nats_at"][str(at)] for night in nights))
        for strength in by_merit:
            rise = self.general_loss(adapter, strength) - self._base_general
            if rise <= THRESHOLDS.general_rise:
                return strength, rise
        mildest = min(THRESHOLDS.strengths)
        return mildest, self.general_loss(adapter, mildest) - self._base_general

    def general_loss(self, adapter: Adapter | None, strength: float = 1.0) -> float:
        """Nats per byte on the frozen general set, without this project's own."""
        return loss(Measured(one, self._judge.score(one, adapter, strength)) for one in self._general)


def days_of(edits: Iterable[EditEvent], edits_per_day: int) -> list[Day]:
    """Edits by date (UTC), or so many at a time."""
    ordered = sorted(edits, key=lambda edit: edit.saved)
    if edits_per_day:
        return [ordered[i : i + edits_per_day] for i in range(0, len(ordered), edits_per_day)]
    return [list(day) for _, day in groupby(ordered, key=lambda edit: edit.saved // 86400)]


def tests_of(day: Day, before: Sequence[EditEvent]) -> list[Example]:
    """At most `MAX_TESTS` places of a day, with the context of their moment."""
    examples = held_out_examples(day, [*before, *day])
    return sorted(examples, key=lambda one: draws("test", example_key(one)).random())[:MAX_TESTS]


def lines_of(day: Day, before: Sequence[EditEvent]) -> list[Example]:
    """At most `MAX_TESTS` ends of lines that a day inserted, in the files as they were saved."""
    drawn = [(edit, Shapes(edit).draw(Kind.LINE, number, "test")) for edit in day for number in range(LINES_PER_EDIT)]
    found = {(edit, len(one.hole.prefix)): (edit, one) for edit, one in drawn if one is not None}.values()
    chosen = sorted(found, key=lambda pair: draws("test", example_key(pair[1])).random())[:MAX_TESTS]
    with Repository([*before, *day]) as past:
        return [past.with_chunks(edit, [one])[0] for edit, one in sorted(chosen, key=lambda pair: pair[0].saved)]


def replay(here: Replay, days: Sequence[Day], n_nights: int, wrong: Path) -> list[dict[str, object]]:
    """Live through the last `n_nights` days, and return what every night brought."""
    log = here.work / "nights.jsonl"
    nights = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    first = max(len(days) - n_nights - 1, 0)
    known = [edit for day in days[: first + 1] for edit in day]
    parent: Path | None = None
    for number, t in enumerate(range(first, len(days) - 1)):
        if number:
            known += days[t]
        how = (NIGHTLY, preset("warm-night")) if parent else (REBUILD, preset("first-night"))
        own = here.learn(f"night-{number:03}", known, how, parent)
        parent = own.path
        if number < len(nights):
            continue
        tests, lines = tests_of(days[t + 1], known), lines_of(days[t + 1], known)
        contenders = {"base": None, "own": own.path, "wrong": wrong}
        night: dict[str, Any] = {
            "night": number,
            "seconds": own.seconds,
            "tokens": own.n_tokens,
            "tests": len(tests),
            "lines": len(lines),
        }
        if number and number % REBUILD_EVERY == 0:
            rebuilt = here.learn(f"rebuild-{number:03}", known, (REBUILD, preset("rebuild")))
            contenders["rebuilt"] = rebuilt.path
            night |= {"rebuild_tokens": rebuilt.n_tokens, "rebuild_seconds": rebuilt.seconds}
        adapters = {who: read_adapter(path) if path else None for who, path in contenders.items()}
        strength, night["general_rise"] = here.best_strength(adapters["own"], nights)
        night["strength"] = strength
        night["judged"] = {who: here.judge(tests, lines, adapter, strength) for who, adapter in adapters.items()}
        night["nats_at"] = {str(at): here.nats(tests, adapters["own"], at) for at in THRESHOLDS.strengths}
        nights.append(night)
        with log.open("a") as file:
            file.write(json.dumps(night) + "\n")
        click.echo(json.dumps(night), err=True)
    return nights


def sum_up(nights: Sequence[dict]) -> dict[str, object]:  # type: ignore[type-arg]
    """Figures over all nights."""
    judged = [night["judged"] for night in nights if night["tests"]]
    rebuilds = [night for night in nights if "rebuilt" in night["judged"] and night["tests"]]
    rises = [night["general_rise"] for night in nights]
    lost = partial(_loss, judged)
    some = partial(_loss, [night["judged"] for night in rebuilds])
    said: dict[str, object] = {
        "nights": len(judged),
        "tests": sum(night["tests"] for night in nights),
        "loss": {who: round(lost(who), 4) for who in ("base", "own", "wrong")},
        "own_against_base": round(lost("own") / lost("base") - 1, 4),
        "own_against_wrong": round(lost("own") / lost("wrong") - 1, 4),
        "sure": {who: _sure(judged, "own", who) for who in ("base", "wrong")},
        "lines": sum(night["lines"] for night in nights),
        "exact": {who: sum(day[who]["exact"] for day in judged) for who in ("base", "own", "wrong")},
        "general_rise": {name: round(at(rises), 4) for name, at in (("most", max), ("last", lambda all_: all_[-1]))},
        "median_night_seconds": median(night["seconds"] for night in nights[1:] or nights),
    }
    if rebuilds:
        tokens = [night["tokens"] / night["rebuild_tokens"] for night in rebuilds]
        said |= {
            "warm_share_of_rebuild_gain": round((some("base") - some("own")) / (some("base") - some("rebuilt")), 3),
            "warm_share_of_rebuild_tokens": round(median(tokens), 3),
        }
    return said


def _loss(judged: Sequence[dict], who: str) -> float:  # type: ignore[type-arg]
    return float(sum(day[who]["nats"] for day in judged) / sum(day[who]["bytes"] for day in judged))


def _sure(judged: Sequence[dict], mine: str, other: str) -> float:  # type: ignore[type-arg]
    sums = np.array([[day[mine]["nats"] - day[other]["nats"], day[mine]["bytes"]] for day in judged])
    drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), 10_000) @ sums
    return round(float((drawn[:, 0] < 0).mean()), 4)


def _edits(repository: Path, author: str) -> list[EditEvent]:
    return list(back_fill(str(repository.resolve()), 0.0, [author]))


@click.command()
@click.argument("repository", type=click.Path(path_type=Path, exists=True))
@click.option("--author", required=True, help="Whose commits are lived through.")
@click.option(
    "--other", type=click.Path(path_type=Path, exists=True), required=True, help="The wrong user's repository."
)
@click.option("--other-author", required=True)
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Where nights are kept; the same again goes on."
)
@click.option("--nights", default=30, help="So many of the last days are replayed.")
@click.option("--edits-per-day", default=0, help="Cut the history into days of so many edits, not by date.")
@click.option(
    "--scale", default=1.0, help="This share of the examples that the product takes, night and rebuild alike."
)
@click.option("--model", default="", help="A registered model; by default the tests' tiny one.")
@click.option("--fresh", is_flag=True, help="Forget the nights that WORK holds.")
def main(
    repository: Path,
    *,
    author: str,
    other: Path,
    other_author: str,
    work: Path,
    nights: int,
    edits_per_day: int,
    scale: float,
    model: str,
    fresh: bool,
) -> None:
    """Replay, and print one JSON line."""
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    here = Replay(model or tiny_model.ensure_imported(), work, scale, repository.resolve().name)
    wrong = here.learn("wrong", _edits(other, other_author), (REBUILD, preset("first-night")))
    lived = replay(here, days_of(_edits(repository, author), edits_per_day), nights, wrong.path)
    print(json.dumps({"repository": repository.resolve().name, **sum_up(lived)}))


if __name__ == "__main__":
    main()
