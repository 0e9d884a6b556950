"""The gate over 200 simulated nights, a quarter of them sabotaged: what does it let pass, and what does it keep?

    python benchmarks/gate_nights.py [--nights 200] [--work FOLDER]      about 3 s of one core a night; goes on where it stopped

Twenty users write ten nights each (`gate_world`); a tiny model, trained for it, is tuned every night by `trainer.tuning` (from
what serves) and judged by `trainer.gate` through the compiled engine. A sabotaged night trains on garbage, on format churn,
on a vendored dump, on the right code in the wrong places (poisoned labels), or at thirty times the learning rate.

What a candidate is truly worth is measured on 300 other holes of the same user and 300 of other people's modules, none of
which the gate sees. Good: at least 1 % less loss than what serves and than the base, at most 0.02 nats per byte more on
the general code, and not 5 points less often a stop where one belongs. Bad: more loss than either, or more than 0.02 on the
general code. One JSON line: `bad_promotions` is the
share of promotions that were bad, `good_kept` the share of good candidates that were promoted.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import torch
from gate_world import draw_examples, general_split, general_texts, library_texts, open_world, users

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.adapters.shelf import Choice
from local_runtime.errors import RuntimeFault
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import FimTokenizer
from trainer.edits import Example, Kind, Verdict
from trainer.gate import gate
from trainer.gate.judge import EngineJudge
from trainer.gate.measures import Measured, loss, share
from trainer.gate.thresholds import THRESHOLDS
from trainer.tuning.recipe import Recipe
from trainer.tuning.tune import tune

NIGHTS_OF_A_USER = 10
BACK_FILL, NEW_HUNKS = 260, 30
TRAINED_ON, N_REPLAYED = 160, 40
"""The newest hunks that a night trains on, and how many of what the model knows already against forgetting."""
N_TRUTH, N_GENERAL_TRUTH, N_GENERAL = 300, 300, 150
MARGIN = 0.01
MODEL_STEPS = 1000
RECIPE = Recipe("simulated", rank=8, alpha=16.0, rate=1.2e-4, epochs=1.0, max_steps=25, warmup_steps=2)
SABOTAGES = ("garbage", "format churn", "vendored dump", "poisoned labels", "rate x30")


class Reckless(Recipe):
    """The same recipe at thirty times its learning rate, whatever the cap."""

    def rate_for(self, hidden_size: int) -> float:
        """Thirty times too much."""
        return 30 * Recipe.rate_for(self, hidden_size)


@dataclass(frozen=True, slots=True)
class Night:
    """What was done, what the gate said, and the truth. Gains are shares of the other's loss; positive is better."""

    user: str
    night: int
    sabotage: str
    promoted: bool
    reason: str
    gain_over_serving: float
    gain_over_base: float
    general_rise: float
    stop_drop: float
    seconds: float

    @property
    def is_good(self) -> bool:
        """Worth serving."""
        own = min(self.gain_over_serving, self.gain_over_base)
        unharmed = self.general_rise <= THRESHOLDS.general_rise and self.stop_drop <= THRESHOLDS.stop_drop
        return own >= MARGIN and unharmed

    @property
    def is_bad(self) -> bool:
        """Worse than what there was."""
        own = min(self.gain_over_serving, self.gain_over_base)
        return not (own >= 0 and self.general_rise <= THRESHOLDS.general_rise)


@dataclass(frozen=True, slots=True)
class Truth:
    """Losses in nats per byte on the user's own and on general code, and the share of right stops."""

    own: float
    general: float
    stops: float


class World:
    """The engine, and the general sets."""

    def __init__(self, home: Path) -> None:
        engine = open_world(home, MODEL_STEPS)
        assert engine.model.folder is not None
        self.model = ModelFolder.open(engine.model.folder)
        self.judge = EngineJudge(engine, FimTokenizer.open(engine.model.folder))
        self.general, self.general_truth = general_split(N_GENERAL, N_GENERAL_TRUTH)
        self.replay = general_texts()[::2]

    def truth(self, own: Sequence[Example], choice: Choice) -> Truth:
        """What a choice is worth on many places that the gate does not see."""
        mine, others = (
            [Measured(one, self.judge.score(one, choice.adapter, choice.strength)) for one in some]
            for some in (own, self.general_truth)
        )
        return Truth(loss(mine), loss(others), share(one.score.ends for one in [*mine, *others]))


def simulate(world: World, user: str, name: str, sabotages: Sequence[str], runs: Path) -> list[Night]:
    """All nights of one user; `sabotages` has one entry a night, empty for an honest one."""
    rng = random.Random(f"{user} {name}")
    texts = library_texts(user)
    truth = draw_examples(texts, N_TRUTH, rng)
    serving, known = Choice(), draw_examples(texts, BACK_FILL, rng)
    base = served = world.truth(truth, serving)
    nights = []
    for number, sabotage in enumerate(sabotages):
        began = time.perf_counter()
        known += draw_examples(texts, NEW_HUNKS, rng, first_id=len(known) + 1, saved=float(len(known)))
        n_pool = int(len(known) * THRESHOLDS.held_out_share)
        train, pool = known[:-n_pool], known[-n_pool:]
        train = sabotaged(train[-TRAINED_ON:], sabotage, rng)
        train += draw_examples(world.replay, N_REPLAYED, rng, kind=Kind.GENERAL)
        rng.shuffle(train)
        run = runs / f"{name}-{number}"
        mine = Truth(math.inf, math.inf, 0.0)
        try:
            recipe = Reckless(**asdict(RECIPE) | {"budgets": RECIPE.budgets}) if sabotage == "rate x30" else RECIPE
            for _ in tune(world.model, train, recipe, run, serving.adapter.path if serving.adapter else None):
                pass
            candidate = read_adapter(run / "adapter")
            verdict = gate.judge(candidate, serving, pool, world.general, world.judge)
            choice = Choice(name, candidate, verdict.strength)
            mine = world.truth(truth, choice)
        except RuntimeFault as fault:
            verdict = Verdict(False, (fault.message,))
        effect = (
            1 - mine.own / served.own,
            1 - mine.own / base.own,
            mine.general - base.general,
            base.stops - mine.stops,
        )
        nights.append(
            Night(name, number, sabotage, verdict.promote, verdict.reasons[0], *effect, time.perf_counter() - began)
        )
        print(f"{nights[-1]}", file=sys.stderr, flush=True)
        if verdict.promote:
            serving, served = choice, mine
    return nights


def sabotaged(train: Sequence[Example], sabotage: str, rng: random.Random) -> list[Example]:
    """What the night trains on instead."""
    if sabotage == "garbage":
        letters = [chr(code) for code in range(33, 127)]
        return [replace(one, middle="".join(rng.choices(letters, k=len(one.middle)))) for one in train]
    if sabotage == "format churn":
        return [replace(one, middle=re.sub(r" ?([(=,:+]) ?", r"  \1  ", one.middle)) for one in train]
    if sabotage == "vendored dump":
        return draw_examples([*library_texts("encodings"), *library_texts("pydoc_data")], len(train), rng)
    if sabotage == "poisoned labels":
        middles = [one.middle for one in train]
        rng.shuffle(middles)
        return [replace(one, middle=middle) for one, middle in zip(train, middles, strict=True)]
    return list(train)


def plan(n_nights: int, seed: int) -> list[tuple[str, str, list[str]]]:
    """Users with their nights' sabotages: a quarter of all, each kind as often, at random nights."""
    rng = random.Random(seed)
    sabotages = [SABOTAGES[n % len(SABOTAGES)] if n < n_nights // 4 else "" for n in range(n_nights)]
    rng.shuffle(sabotages)
    known = users()
    return [
        (known[n % len(known)], f"{known[n % len(known)]}-{n}", sabotages[start : start + NIGHTS_OF_A_USER])
        for n, start in enumerate(range(0, n_nights, NIGHTS_OF_A_USER))
    ]


def summed_up(nights: Sequence[Night]) -> dict[str, object]:
    """The figures of the benchmark."""
    promoted = [night for night in nights if night.promoted]
    good, bad = [n for n in nights if n.is_good], [n for n in nights if n.is_bad]
    some_gain = [n for n in nights if not n.is_bad]
    wrong = [n for n in promoted if n.is_bad]
    return {
        "benchmark": "gate_nights",
        "nights": len(nights),
        "sabotaged": sum(bool(n.sabotage) for n in nights),
        "promoted": len(promoted),
        "promoted_sabotaged": dict(Counter(n.sabotage for n in promoted if n.sabotage)),
        "good": len(good),
        "bad": len(bad),
        "bad_promotions": round(len(wrong) / max(len(promoted), 1), 4),
        "bad_let_pass": round(len(wrong) / max(len(bad), 1), 4),
        "worst_promotion": round(min([min(n.gain_over_serving, n.gain_over_base) for n in promoted] or [0.0]), 4),
        "good_kept": round(sum(n.promoted for n in good) / max(len(good), 1), 4),
        "any_gain_kept": round(sum(n.promoted for n in some_gain) / max(len(some_gain), 1), 4),
        "seconds_a_night": round(sum(n.seconds for n in nights) / max(len(nights), 1), 2),
    }


@click.command()
@click.option("--nights", default=200, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--work", type=click.Path(path_type=Path), help="Keep the model and finished users here, and go on from them."
)
def main(nights: int, seed: int, work: Path | None) -> None:
    """See the module's docstring."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        home = (work or Path(scratch)).absolute()
        os.environ["UNDERSTUDY_HOME"] = str(home)
        world = World(home)
        done = home / f"nights-{seed}.jsonl"
        rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
        found = [Night(**row) for row in rows]
        for user, name, sabotages in plan(nights, seed):
            if sum(night.user == name for night in found) == len(sabotages):
                continue
            with tempfile.TemporaryDirectory() as runs:
                new = simulate(world, user, name, sabotages, Path(runs))
            found += new
            with done.open("a") as file:
                file.writelines(json.dumps(asdict(night)) + "\n" for night in new)
    print(json.dumps(summed_up(found)))


if __name__ == "__main__":
    main()
