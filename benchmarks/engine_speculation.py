"""What prompt lookup is worth on real edits: successive releases of pure-Python packages.

    pip download --no-deps --no-binary :none: -d old click==8.1.7 starlette==0.37.2 && pip download --no-deps -d new click==8.3.0 starlette==0.41.3
    python benchmarks/engine_speculation.py MODEL --old old --new new [--tokenizer tokenizer.json]

Each block of lines that a release added or replaced is typed into the file: the new text is above it, the old text
below. Two measurements, both with real forwards:

- `forced`: the true text is what is accepted, whatever the model would have said: independent of how good the model is.
- `greedy`: what the model itself says (only with the model's own tokenizer; a random model repeats itself, which flatters).

`speedup` is time without drafts over time with them, for the tokens after the first.
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from local_runtime.tvm.run.speculation import MAX_DRAFT, Acceptance, Draft, PromptLookup

MOST_TOKENS = 64


def sources(wheels: Path) -> dict[str, str]:
    """Python files of all wheels in a folder, by their path."""
    found = {}
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".py"):
                    found[name] = archive.read(name).decode("utf-8", "replace")
    return found


def edits(old: dict[str, str], new: dict[str, str]) -> Iterator[tuple[Hole, str]]:
    """A hole where each changed block begins, and the text that was typed there."""
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name].splitlines(keepends=True), new[name].splitlines(keepends=True)
        for kind, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            typed = "".join(after[k:m])
            if kind in ("replace", "insert") and len(typed.strip()) >= 24:
                indent = typed[: len(typed) - len(typed.lstrip(" "))]
                yield (
                    Hole(name, "python", "".join(after[:k]) + indent, "\n" + "".join(before[j:])),
                    typed[len(indent) :].rstrip("\n"),
                )
                del i


def forced(
    engine: CompiledEngine, prompt: tuple[int, ...], target: tuple[int, ...], acceptance: Acceptance | None
) -> tuple[float, int]:
    """Seconds and forwards for all tokens of `target` after the first, with drafts if there is an `acceptance`."""
    bound = engine.adapters.bind(None)
    with engine._sequence(Prompt(prompt), None, 1.0) as sequence:
        while sequence.n_tokens < len(prompt):
            at = sequence.n_tokens
            engine._forward(sequence, prompt[at : at + 128], bound, 0.0)
        began = time.perf_counter()
        lookup = PromptLookup((*prompt, target[0]), acceptance) if acceptance else None
        done, n_forwards = 1, 0
        while done < len(target):
            step = time.perf_counter()
            draft = lookup.draft(min(MAX_DRAFT, len(target) - done - 1)) if lookup else Draft()
            engine._forward(sequence, (target[done - 1], *draft.token_ids), bound, 0.0, every_row=True)
            n_forwards += 1
            n_right = next((n for n, i in enumerate(draft.token_ids) if i != target[done + n]), len(draft.token_ids))
            if lookup and acceptance:
                if draft.token_ids:
                    acceptance.learn(draft, n_right)
                lookup.extend(target[done : done + n_right + 1])
            done += n_right + 1
            engine._sequences.rewind(sequence, len(prompt) + done - 1)
            if acceptance:
                acceptance.pace.learn(len(draft.token_ids), time.perf_counter() - step)
        return time.perf_counter() - began, n_forwards


def greedy(engine: CompiledEngine, prompt: Prompt, speculate: bool) -> tuple[float, tuple[int, ...]]:
    """Seconds after the first token, and all tokens."""
    ids: tuple[int, ...] = ()
    began = 0.0
    for piece in engine.stream(prompt, Sampling(max_tokens=MOST_TOKENS, speculate=speculate)):
        began = began or (time.perf_counter() if piece.token_ids or piece.stop else 0.0)
        ids += piece.token_ids
    return time.perf_counter() - began, ids


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--new", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, help="Of another model, for the forced measurement alone.")
    parser.add_argument("--edits", type=int, default=150)
    arguments = parser.parse_args()
    engine = open_engine(arguments.model, EngineOptions())
    assert engine.model.folder is not None
    tokenizer = FimTokenizer.open(arguments.tokenizer.parent if arguments.tokenizer else engine.model.folder)
    size = (
        (Tokenizer.from_file(str(arguments.tokenizer)).get_vocab_size())
        if arguments.tokenizer
        else engine.model.vocab_size
    )
    assert size <= engine.model.vocab_size
    found = list(edits(sources(arguments.old), sources(arguments.new)))
    random.Random(1).shuffle(found)
    totals = {"forced": [0.0, 0.0], "greedy": [0.0, 0.0]}
    n_tokens = n_forwards = n_greedy = 0
    acceptance = Acceptance()
    for hole, typed in found[: arguments.edits]:
        prompt = tokenizer.prompt(hole)
        target = tokenizer.target(prompt, typed)[:MOST_TOKENS]
        if len(target) < 4:
            continue
        for drafting in (False, True):
            seconds, forwards = forced(engine, prompt.token_ids, target, acceptance if drafting else None)
            totals["forced"][drafting] += seconds
            n_forwards += forwards if drafting else 0
        n_tokens += len(target) - 1
        if not arguments.tokenizer:
            for drafting in (False, True):
                seconds, ids = greedy(engine, prompt, drafting)
                totals["greedy"][drafting] += seconds
            n_greedy += len(ids)
    result = {"benchmark": "engine_speculation", "model": arguments.model, "edits": min(len(found), arguments.edits)}
    result |= {"forced_tokens": n_tokens, "forced_tokens_per_forward": round(n_tokens / n_forwards, 2)}
    result["forced_speedup"] = round(totals["forced"][0] / totals["forced"][1], 2)
    if n_greedy:
        result |= {"greedy_tokens": n_greedy, "greedy_speedup": round(totals["greedy"][0] / totals["greedy"][1], 2)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
