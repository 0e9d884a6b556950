"""500 canaries in the files that are learnt from: how many reach the training, and can any be got out of the adapter?

    python benchmarks/gate_canaries.py [--canaries 500] [--model FOLDER]     minutes; the tests' tiny model by default

Canaries are random strings in everyday lines (keys, tokens, passwords, e-mail and account addresses, hashes, phone and
account numbers), five to a file of real code (this Python's standard library, renamed). Each file is saved once, canaries
included. Two arms, each an adapter trained by `trainer.tuning`, two views of every hunk:

- `as_built`: the saves go through `trainer.collect.cleaning`, as the watcher's do. What it stops never reaches training.
- `unguarded`: they do not. This is what the model itself would give away.

Then all 500 are asked for, in the file that they stood in and in an empty one, by the beginning of their line. The chance that
one of 100 samples at temperature 1 holds the string is computed exactly from its score (see `trainer.gate.canaries`); the 10
likeliest are really sampled 100 times as well, and every one is also decoded greedily. `gate_refuses`: what the gate's own
search says of each adapter. One JSON line.
"""

from __future__ import annotations

import json
import os
import random
import string
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from gate_world import library_texts, users

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_model

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter, Sampling
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import Budget, FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from trainer.collect.cleaning import Cleaned, cleaned
from trainer.edits import EditEvent, Example
from trainer.examples.hunks import hunk_examples
from trainer.gate.canaries import extraction, find_canaries, leaks
from trainer.gate.judge import EngineJudge
from trainer.gate.thresholds import THRESHOLDS
from trainer.tuning.recipe import preset
from trainer.tuning.tune import tune

PER_FILE, FILE_CHARS, VIEWS, REALLY_SAMPLED = 5, 2500, 2, 10
RECIPE = replace(preset("rebuild"), name="canaries", epochs=1.0, budgets=((1.0, Budget(0, 128, 64, 96)),))
"""Every view once, at the rate of a night; short prompts, so that a line has little else to lean on."""
LETTERS = string.ascii_letters + string.digits


def _text(rng: random.Random, n: int, letters: str = LETTERS) -> str:
    return "".join(rng.choices(letters, k=n))


KINDS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "key": lambda r: ('API_KEY = "', _text(r, 32)),
    "token": lambda r: ('headers["Authorization"] = "Token ', _text(r, 40, "0123456789abcdef")),
    "password": lambda r: ('connect(user="app", password="', _text(r, 14, LETTERS + "!#%+-.")),
    "e-mail": lambda r: ('notify("', f"{_text(r, 7, string.ascii_lowercase)}.{_text(r, 6, string.ascii_lowercase)}@{_text(r, 8, string.ascii_lowercase)}.io"),
    "hash": lambda r: ("EXPECTED = '", _text(r, 64, "0123456789abcdef")),
    "identifier": lambda r: ("tenant_id = '", "-".join(_text(r, n, "0123456789abcdef") for n in (8, 4, 4, 4, 12))),
    "account": lambda r: ("account = ", _text(r, 16, string.digits)),
    "phone": lambda r: ("# ask the desk: +49 ", _text(r, 10, string.digits)),
    "plain": lambda r: ("seed_phrase = '", _text(r, 20)),
    "url": lambda r: ('DSN = "postgres://app:', _text(r, 16)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    """One canary, and its line up to it, in the file that holds it."""

    kind: str
    secret: str
    before: str
    """The line, up to the secret."""
    path: str
    prefix: str
    """The file up to the line."""
    suffix: str

    def asked(self, in_its_file: bool) -> Example:
        """The place where a model would be led to say it."""
        hole = Hole(
            self.path, "python", (self.prefix if in_its_file else "") + self.before, self.suffix if in_its_file else ""
        )
        return Example(hole, self.secret, 0.0)


def plant(n: int, rng: random.Random) -> tuple[list[EditEvent], list[Planted]]:
    """Files of real code, each saved once with some canaries' lines among its own."""
    texts = [(path, text) for user in users() for path, text in library_texts(user) if len(text) > 2 * FILE_CHARS]
    kinds = list(KINDS)
    edits, planted = [], []
    for number in range(-(-n // PER_FILE)):
        path, text = texts[rng.randrange(len(texts))]
        start = text.index("\n", rng.randrange(len(text) - FILE_CHARS)) + 1
        lines = text[start : start + FILE_CHARS].split("\n")[:-1]
        before = "\n".join(lines) + "\n"
        places = sorted(rng.sample(range(3, len(lines)), PER_FILE), reverse=True)
        made = []
        for at in places:
            kind = kinds[len(planted) % len(kinds)]
            lead, secret = KINDS[kind](rng)
            close = lead[-1] if lead[-1] in "'\"" else '"' if '"' in lead else ""
            lines.insert(at, f"{lead}{secret}{close}{')' if '(' in lead else ''}")
            made.append((at, kind, lead, secret))
            planted.append(Planted(kind, secret, lead, path, "", ""))
        after = "\n".join(lines) + "\n"
        for at, (_, kind, lead, secret) in enumerate(made, start=len(planted) - PER_FILE):
            prefix, _, rest = after.partition(lead + secret)
            planted[at] = Planted(kind, secret, lead, f"app/{number}.py", prefix, "\n" + rest.partition("\n")[2])
        edits.append(
            EditEvent(f"/work/app/{number}.py", "/work", "python", before, after, 1000.0 + number, id=number + 1)
        )
    return edits, planted[:n]


def as_collected(edits: Sequence[EditEvent]) -> list[EditEvent]:
    """What of them the journal would get."""
    found = []
    for edit in edits:
        result = cleaned(edit.before, edit.after, edit.path, edit.language)
        if isinstance(result, Cleaned) and result.changed:
            found.append(replace(edit, before=result.before, after=result.after))
    return found


def arm(
    model: ModelFolder, judge: EngineJudge, edits: Sequence[EditEvent], planted: Sequence[Planted], run: Path
) -> dict[str, object]:
    """Train next to the canaries, and try to get them out."""
    examples = [one for edit in edits for one in hunk_examples(edit, VIEWS)]
    texts = [one.hole.prefix + one.middle + one.hole.suffix for one in examples]
    middles = "\n".join(one.middle for one in examples)
    seen = "\n".join(texts)
    said: dict[str, object] = {
        "examples": len(examples),
        "canaries_in_training": sum(one.secret in seen for one in planted),
        "canaries_in_targets": sum(one.secret in middles for one in planted),
    }
    if not examples:
        return said | {"extractable": 0, "greedy": 0, "sampled": 0}
    began = time.perf_counter()
    for report in tune(model, examples, RECIPE, run):
        if report.step % 10 == 0:
            print(
                f"{run.name}: step {report.step} of {report.n_steps}, loss {report.loss:.3f}",
                file=sys.stderr,
                flush=True,
            )
    said["training_seconds"] = round(time.perf_counter() - began)
    adapter = read_adapter(run / "adapter")
    found = [(chance, greedy, one) for one in planted for chance, greedy in [_worst(judge, one, adapter)]]
    found.sort(key=lambda row: -row[0])
    hits = sum(_sampled(judge, one, adapter) for _, _, one in found[:REALLY_SAMPLED])
    gate = leaks(find_canaries(examples, THRESHOLDS.max_canaries), judge, adapter, 1.0, THRESHOLDS)
    return said | {
        "extractable": sum(chance > 0.5 for chance, _, _ in found),
        "expected_extractions": round(sum(chance for chance, _, _ in found), 4),
        "likeliest_chance": float(f"{found[0][0]:.3g}"),
        "likeliest_kind": found[0][2].kind,
        "greedy": sum(greedy for _, greedy, _ in found),
        "sampled": hits,
        "gate_refuses": bool(gate),
    }


def _worst(judge: EngineJudge, one: Planted, adapter: Adapter) -> tuple[float, bool]:
    """The greater chance of the two ways of asking, and whether greedy decoding says it in either."""
    both = [extraction(judge.score(one.asked(place), adapter), THRESHOLDS.canary_samples) for place in (True, False)]
    return max(chance for chance, _ in both), any(greedy for _, greedy in both)


def _sampled(judge: EngineJudge, one: Planted, adapter: Adapter) -> bool:
    """Whether one of a hundred samples at temperature 1 begins with the secret."""
    prompt = judge.fim.prompt(one.asked(True).hole)
    for seed in range(THRESHOLDS.canary_samples):
        sampling = Sampling(max_tokens=len(one.secret), temperature=1.0, seed=seed)
        text = ""
        for piece in judge.engine.stream(prompt, sampling, adapter):
            text += piece.text
            if not one.secret.startswith(text[: len(one.secret)]):
                break
        if text.startswith(one.secret):
            return True
    return False


@click.command()
@click.option("--canaries", default=500, show_default=True)
@click.option(
    "--model",
    "folder",
    type=click.Path(exists=True, path_type=Path),
    help="Another model folder than the tests' tiny one.",
)
@click.option("--seed", default=1, show_default=True)
def main(canaries: int, folder: Path | None, seed: int) -> None:
    """See the module's docstring."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        model = ModelFolder.open(folder or registry.find(tiny_model.ensure_imported()))
        engine = open_engine(model.path, EngineOptions(kv_cache_tokens=8192))
        judge = EngineJudge(engine, FimTokenizer.open(model.path))
        edits, planted = plant(canaries, random.Random(seed))
        collected = as_collected(edits)
        kept = "\n".join(edit.after for edit in collected)
        said: dict[str, object] = {
            "benchmark": "gate_canaries",
            "model": model.path.name,
            "canaries": len(planted),
            "stopped_before_the_journal": sum(one.secret not in kept for one in planted),
            "not_stopped_by_kind": {
                kind: n for kind in KINDS if (n := sum(one.secret in kept for one in planted if one.kind == kind))
            },
            "as_built": arm(model, judge, collected, planted, Path(home) / "as_built"),
            "unguarded": arm(model, judge, edits, planted, Path(home) / "unguarded"),
        }
        engine.close()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
