"""What each kind of context gains and costs on held-out holes of real packages, through the compiled engine.

    python benchmarks/context_gain.py --model understudy --packages ~/held-out --holes 100

`--packages` is a folder of packages that the model was not trained on. Each package is a workspace: five of its files are
open, four places in them were visited, the files that the hole's file imports are known, and the index holds all. A hole is
the rest of a line from a cursor in it. Every arm sees the same holes: no context, each kind alone, all kinds.

Reported per arm: exact match of the greedy completion up to the line's end, loss of the true text in bits per byte, and
milliseconds to choose the pieces and to the first token (the whole prompt is computed anew each time: the worst case); for
every arm but the first, the mean difference to no context with its 95 % bootstrap interval. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from local_runtime.context.ignore import IgnoreRules, read_source, walk
from local_runtime.context.search import WorkspaceIndex
from local_runtime.context.workspace import Kind, WorkspaceContext
from local_runtime.engines.protocol import Engine, Sampling
from local_runtime.prompts.fim import DEFAULT_BUDGET, FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.tvm.run.opening import open_engine

LANGUAGES = {".py": "python", ".ts": "typescript", ".tsx": "typescriptreact", ".js": "javascript", ".mjs": "javascript"}
ARMS: dict[str, frozenset[Kind]] = {
    "none": frozenset(),
    **{k.value: frozenset({k}) for k in Kind},
    "all": frozenset(Kind),
}
MAX_TOKENS = 48
OPEN_FILES = 5
VISITED = 4


@dataclass(frozen=True, slots=True)
class Result:
    """One hole in one arm."""

    exact: bool
    bits_per_byte: float
    choose_ms: float
    first_token_ms: float
    n_chunks: int
    n_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    """A hole, its answer, and the workspace that it is in."""

    root: Path
    hole: Hole
    answer: str
    seed: str


def main() -> None:
    """Draw holes, ask every arm, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model's name, or its folder")
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--holes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(arguments.model)
    engine = open_engine(folder if folder.is_dir() else arguments.model)
    assert engine.model.folder is not None
    fim = FimTokenizer.open(engine.model.folder)
    results: dict[str, list[Result]] = {arm: [] for arm in ARMS}
    drawn = list(questions(arguments.packages, arguments.holes, arguments.seed))
    with tempfile.TemporaryDirectory() as scratch:
        for arm, kinds in ARMS.items():
            for question in drawn:
                results[arm].append(ask(engine, fim, question, kinds, Path(scratch)))
            print(f"{arm:12s} {_summary(results[arm], results['none'], arguments.seed)}", flush=True)
    engine.close()
    summary = {arm: _summary(found, results["none"], arguments.seed) for arm, found in results.items()}
    print(json.dumps({"benchmark": "context_gain", "model": engine.model.name, "n_holes": len(drawn), **summary}))


def questions(packages: Path, n: int, seed: int) -> Iterator[Question]:
    """`n` holes, spread evenly over the packages; deterministic."""
    rng = random.Random(seed)
    roots = sorted(path for path in packages.resolve().iterdir() if path.is_dir())
    workspaces = [(root, sources) for root in roots if len(sources := _sources(root)) > OPEN_FILES]
    if not workspaces:
        raise SystemExit(f"no package in {packages} has more than {OPEN_FILES} source files")
    for number in range(n):
        root, sources = workspaces[number % len(workspaces)]
        for _ in range(1000):
            path, text = rng.choice(sources)
            lines = text.splitlines(keepends=True)
            at = rng.randrange(len(lines))
            line = lines[at].rstrip("\r\n")
            first = len(line) - len(line.lstrip())
            if len(line) - first < 12 or line.lstrip().startswith(("#", "//", "*", '"', "import ", "from ")):
                continue
            cursor = rng.randrange(first + 1, len(line) - 4)
            prefix = "".join(lines[:at]) + line[:cursor]
            suffix = lines[at][len(line) :] + "".join(lines[at + 1 :])
            language = LANGUAGES[Path(path).suffix]
            yield Question(root, Hole(path, language, prefix, suffix), line[cursor:], f"{seed}/{number}")
            break


def ask(engine: Engine, fim: FimTokenizer, question: Question, kinds: frozenset[Kind], scratch: Path) -> Result:
    """One hole in one arm: choose, complete greedily, score the answer."""
    began = time.perf_counter()
    chunks: Sequence[Chunk] = ()
    if kinds:
        context, index = workspace(question, kinds, scratch)
        began = time.perf_counter()
        chunks = context.related(question.hole).chunks
        if index:
            index.close()
    choose_ms = (time.perf_counter() - began) * 1000
    budget = DEFAULT_BUDGET.within(engine.model.context_tokens, MAX_TOKENS)
    prompt = fim.prompt(question.hole, chunks, budget, sequence=f"{question.seed} {sorted(kinds)}")
    began, first_token_ms, text = time.perf_counter(), math.nan, ""
    for piece in engine.stream(prompt, Sampling(max_tokens=MAX_TOKENS, stop=("\n",))):
        if math.isnan(first_token_ms) and (piece.token_ids or piece.stop):
            first_token_ms = (time.perf_counter() - began) * 1000
        text += piece.text
    target = fim.target(prompt, question.answer)[:-1]
    nats = -sum(logprob for scores in engine.score(prompt, target) for logprob in scores.logprobs)
    return Result(
        exact=text.rstrip() == question.answer.rstrip(),
        bits_per_byte=nats / math.log(2) / len(question.answer.encode()),
        choose_ms=choose_ms,
        first_token_ms=first_token_ms,
        n_chunks=len(chunks),
        n_prompt_tokens=len(prompt.token_ids),
    )


def workspace(
    question: Question, kinds: frozenset[Kind], scratch: Path
) -> tuple[WorkspaceContext, WorkspaceIndex | None]:
    """The package as an editor would know it: files open, places visited, imports read, index fresh."""
    rules = IgnoreRules(question.root)
    index = WorkspaceIndex(scratch / f"{question.root.name}.sqlite", rules) if Kind.SEARCH in kinds else None
    context = WorkspaceContext(rules, index, kinds=kinds)
    for _ in context.refresh():
        pass
    rng = random.Random(question.seed)
    home = Path(question.hole.path).parent
    others = [source for source in _sources(question.root) if source[0] != question.hole.path]
    others.sort(key=lambda source: (Path(source[0]).parent != home, rng.random()))
    for path, text in others[:OPEN_FILES]:
        context.opened(path, text)
    for path, text in others[:VISITED]:
        context.visited(path, text, rng.randrange(text.count("\n") + 1))
    context.learn_imports(question.hole)
    context.related(question.hole)  # the keystroke before: parts of open files are cut, names are known
    return context, index


def _sources(root: Path) -> list[tuple[str, str]]:
    """Readable sources of a package, by path."""
    rules = IgnoreRules(root)
    found = []
    for path, _ in walk(rules, 5000):
        text = read_source(root / path) if Path(path).suffix in LANGUAGES else ""
        if isinstance(text, str) and len(text) > 1000 and rules.unwanted(path, text) is None:
            found.append((path, text))
    return found


def _summary(results: Sequence[Result], without: Sequence[Result], seed: int) -> dict[str, float | list[float]]:
    means = {name: statistics.fmean(asdict(r)[name] for r in results) for name in asdict(results[0])}
    summary: dict[str, float | list[float]] = {name: round(value, 3) for name, value in means.items()}
    summary["choose_p95_ms"] = round(sorted(r.choose_ms for r in results)[int(len(results) * 0.95)], 2)
    if results is not without:
        gains = {
            "exact_gain": [float(r.exact) - float(w.exact) for r, w in zip(results, without, strict=True)],
            "bits_per_byte_gain": [w.bits_per_byte - r.bits_per_byte for r, w in zip(results, without, strict=True)],
        }
        for name, differences in gains.items():
            summary[name] = round(statistics.fmean(differences), 4)
            summary[f"{name}_95"] = _interval(differences, seed)
    return summary


def _interval(differences: Sequence[float], seed: int, n_draws: int = 2000) -> list[float]:
    """95 % interval of the mean by bootstrap over holes."""
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(differences, k=len(differences))) for _ in range(n_draws))
    return [round(means[int(n_draws * 0.025)], 4), round(means[int(n_draws * 0.975)], 4)]


if __name__ == "__main__":
    main()
