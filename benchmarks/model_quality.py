"""How good a model is on the frozen general set, through the compiled runtime, beside copying from nearby.

    python benchmarks/model_quality.py                          the model that is chosen
    python benchmarks/model_quality.py --model NAME             another one of this user's
    python benchmarks/model_quality.py --model FOLDER           a Hugging Face folder, a GGUF file or an MLC folder, imported for this alone

Prints one JSON line. `nats_per_byte`: of all middles of all shapes; `exact` and `similarity` (1 - edit distance / length): of
middles within one line, greedy, up to the line's end; `stops`: how often, after the true middle, the end token comes first;
`silent`: how often nothing was said where something was missing.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import click

from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.general_set import GeneralHole, general_holes
from local_runtime.model.chosen import chosen_model
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.registry import FILE_NAME
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import open_engine
from trainer.gate.measures import similarity

MAX_TOKENS = 48
LANGUAGES = ("python", "typescript", "javascript")


@dataclass(frozen=True, slots=True)
class Judged:
    """What one predictor did with one hole; None where it has no such figure."""

    hole: GeneralHole
    text: str
    nats: float | None = None
    stopped: bool | None = None


@click.command()
@click.option("--model", help="A model's name, or a path with a slash. Default: the chosen one.")
@click.option(
    "--quantization",
    "-q",
    type=click.Choice(list(QUANTIZATIONS)),
    default="q8f16_g32",
    help="Of a folder that is imported.",
)
@click.option("--holes", "n_holes", type=int, help="Only so many of the set, spread over it.")
def main(model: str | None, quantization: str, n_holes: int | None) -> None:
    """Judge, and print one JSON line."""
    with _opened(model or chosen_model(), quantization) as (name, engine):
        assert engine.model.folder is not None
        fim = FimTokenizer.open(engine.model.folder)
        holes = general_holes()
        holes = holes[:: max(1, len(holes) // n_holes)][:n_holes] if n_holes else holes
        figures = {
            "model": sum_up([judge_model(engine, fim, hole) for hole in holes]),
            "copy": sum_up([Judged(h, copied_line(h.hole.prefix, h.hole.suffix)) for h in holes]),
        }
        quantized = engine.model.quantization
    print(json.dumps({"name": name, "quantization": quantized, "n_holes": len(holes), **figures}))


@contextmanager
def _opened(model: str, quantization: str) -> Iterator[tuple[str, CompiledEngine]]:
    """An engine of the user's model, or of a folder that is imported into a home that is removed."""
    with tempfile.TemporaryDirectory() as scratch:
        if "/" in model and not (Path(model) / FILE_NAME).exists():
            folder = Path(model).expanduser().absolute()
            os.environ["UNDERSTUDY_HOME"] = scratch
            model = import_model(folder, QUANTIZATIONS[quantization], "judged").name
            name = folder.name
        else:
            name = model
        engine = open_engine(Path(model) if "/" in model else model)
        try:
            yield name, engine
        finally:
            engine.close()


def judge_model(engine: CompiledEngine, fim: FimTokenizer, hole: GeneralHole) -> Judged:
    """What the model says at a hole, and how likely the true middle is to it."""
    prompt = fim.prompt(hole.hole)
    scores = list(engine.score(prompt, fim.target(prompt, hole.middle)))
    logprobs = [p for score in scores for p in score.logprobs]
    greedy = [g for score in scores for g in score.greedy]
    text = _complete(engine, prompt, Sampling(max_tokens=MAX_TOKENS, stop=("\n",)))
    return Judged(hole, text, -sum(logprobs[:-1]), greedy[-1])


def copied_line(prefix: str, suffix: str, least_chars: int = 3) -> str:
    """The rest of the line that followed the longest earlier occurrence of the text before the cursor; "" without one.

    The text is matched within the cursor's line and the line above it, in the prefix first (nearest), then in the suffix.
    """
    lines = prefix.split("\n")
    near = "\n".join(lines[-2:])
    for start in range(len(near) - least_chars + 1):
        key = near[start:]
        at = prefix.rfind(key, 0, len(prefix) - 1)
        if at >= 0:
            return prefix[at + len(key) :].split("\n", 1)[0]
        at = suffix.find(key)
        if at >= 0:
            return suffix[at + len(key) :].split("\n", 1)[0]
    return ""


def sum_up(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Figures of all holes and by language."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        groups["all"].append(one)
        groups[one.hole.hole.language].append(one)
    return {name: _figures(groups[name]) for name in ("all", *LANGUAGES) if groups[name]}


def _figures(judged: Sequence[Judged]) -> dict[str, float]:
    lines = [one for one in judged if one.hole.middle.strip() and "\n" not in one.hole.middle]
    said = {
        "n_lines": len(lines),
        "exact": round(mean(one.text.rstrip() == one.hole.middle.rstrip() for one in lines), 3),
        "similarity": round(mean(similarity(one.text.rstrip(), one.hole.middle.rstrip()) for one in lines), 3),
    }
    said["silent"] = round(mean(not one.text.strip() for one in lines), 3)
    measured = [(one.nats, len(one.hole.middle.encode())) for one in judged if one.nats is not None]
    if measured:
        said["nats_per_byte"] = round(sum(nats for nats, _ in measured) / sum(n for _, n in measured), 4)
    stopped = [one.stopped for one in judged if one.stopped is not None]
    if stopped:
        said["stops"] = round(mean(stopped), 3)
    return said


def _complete(engine: CompiledEngine, prompt: Prompt, sampling: Sampling) -> str:
    return "".join(piece.text for piece in engine.stream(prompt, sampling))


if __name__ == "__main__":
    main()
