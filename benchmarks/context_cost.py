"""What gathering related pieces and making a prompt costs at a keystroke, in milliseconds.

    python benchmarks/context_cost.py                     # on this Python's standard library
    python benchmarks/context_cost.py --root ~/src/app --tokenizer ~/models/app --keystrokes 400

Twenty files are open, the index holds the tree, and a user types lines of real files at random places: first a jump to a
place (cold: every name is new), then nine characters there (warm). Wall time and CPU time of each kind of context, of the
whole choice, and of the prompt; the last line is one JSON document. The budget for the choice is 10 ms; what would come
later is left out, so the choice of all kinds is measured with the budget on, each kind by itself without.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from local_runtime.context.ignore import IgnoreRules, read_source, walk
from local_runtime.context.search import WorkspaceIndex
from local_runtime.context.workspace import BUDGET_MS, Kind, WorkspaceContext
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole

Answer = TypeVar("Answer")


class Times:
    """Wall and CPU milliseconds of named steps."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)

    def measure(self, name: str, step: Callable[[], Answer]) -> Answer:
        """Run one step."""
        wall, cpu = time.perf_counter(), time.thread_time()
        answer = step()
        self.cpu[name].append((time.thread_time() - cpu) * 1000)
        self.wall[name].append((time.perf_counter() - wall) * 1000)
        return answer

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and 95th percentile of every step."""
        return {
            name: {**_percentiles("wall", self.wall[name]), **_percentiles("cpu", self.cpu[name])} for name in self.wall
        }


def _percentiles(clock: str, ms: list[float]) -> dict[str, float]:
    if len(ms) == 1:
        return {f"{clock}_ms": round(ms[0], 2)}
    return {
        f"{clock}_p50_ms": round(statistics.median(ms), 2),
        f"{clock}_p95_ms": round(statistics.quantiles(ms, n=20)[-1], 2),
    }


def main() -> None:
    """Index, open, type, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(os.__file__).parent)
    parser.add_argument("--tokenizer", type=Path, help="a model folder; without it no prompt is made")
    parser.add_argument("--keystrokes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    rules = IgnoreRules(arguments.root.resolve())
    fim = FimTokenizer.open(arguments.tokenizer) if arguments.tokenizer else None
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "index.sqlite"
        index = WorkspaceIndex(database, rules)
        times = Times()
        *_, report = times.measure("refresh_first", lambda: list(index.refresh()))
        times.measure("refresh_again", lambda: list(index.refresh()))
        sources = [
            (path, text)
            for path, _ in walk(rules, 10_000)
            if path.endswith(".py") and isinstance(text := read_source(rules.root / path), str) and len(text) > 4000
        ]
        for kinds in (*({kind} for kind in Kind), set(Kind)):
            budget_ms = BUDGET_MS if len(kinds) > 1 else 1e9
            label = "all" if len(kinds) > 1 else next(iter(kinds)).value
            context = WorkspaceContext(rules, index, budget_ms=budget_ms, kinds=frozenset(kinds))
            for path, text in rng.sample(sources, min(20, len(sources))):
                context.opened(path, text)
                context.visited(path, text, text.count("\n") // 2)
            for _ in range(arguments.keystrokes // 10):
                path, text = rng.choice(sources)
                prompts = fim if label == "all" else None
                _type(
                    path,
                    text,
                    rng.randrange(2000, len(text) - 100),
                    context=context,
                    times=times,
                    label=label,
                    fim=prompts,
                )
        size_mb = database.stat().st_size / 1e6
        index.close()
    result = {
        "benchmark": "context_cost",
        "root_files": report.n_seen,
        "indexed_mb": round(report.n_bytes / 1e6, 1),
        "index_mb": round(size_mb, 1),
        "load": round(os.getloadavg()[0], 1),
        **times.summary(),
    }
    for name, row in times.summary().items():
        print(f"{name:22s} " + "  ".join(f"{key} {value:8.2f}" for key, value in row.items()))
    print(json.dumps(result))


def _type(
    path: str, text: str, at: int, *, context: WorkspaceContext, times: Times, label: str, fim: FimTokenizer | None
) -> None:
    """Jump to a place of a file and type ten characters of it."""
    suffix = text[at + 40 :]
    for n in range(10):
        hole = Hole(path, "python", text[: at + n], suffix)
        if n == 0:
            context.learn_imports(hole)
        temperature = "cold" if n == 0 else "warm"
        related = times.measure(f"{label} {temperature}", lambda hole=hole: context.related(hole))
        if fim:
            times.measure(f"prompt {temperature}", lambda hole=hole, chunks=related.chunks: fim.prompt(hole, chunks))


if __name__ == "__main__":
    main()
