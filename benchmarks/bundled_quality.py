"""How good the bundled model is on the frozen general set, through the compiled int8 runtime, beside two baselines.

    python benchmarks/bundled_quality.py                        the model alone: seconds
    python benchmarks/bundled_quality.py --corpus CORPUS.jsonl.gz   with the n-gram of the same corpus: minutes
    python benchmarks/bundled_quality.py --samples 1000         what it says unasked: licence wording, e-mail addresses

Prints one JSON line. `nats_per_byte`: of all middles of all shapes; `exact` and `similarity` (1 - edit distance / length): of
middles within one line, greedy, up to the line's end; `stops`: how often, after the true middle, the end token comes first;
`silent`: how often nothing was said where something was missing.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np
from bundled_baselines import NGram, copied_line
from tokenizers import Tokenizer

from local_runtime import bundled
from local_runtime.bundled import GeneralHole, general_holes
from local_runtime.compiled.compiled_engine import CompiledEngine
from local_runtime.compiled.opening import open_engine
from local_runtime.engine import Prompt, Sampling
from local_runtime.fim import FimTokenizer
from local_runtime.hole import Hole
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
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
@click.option("--model", type=click.Path(path_type=Path), help="A Hugging Face folder instead of the bundled one.")
@click.option("--corpus", type=click.Path(path_type=Path, exists=True), help="Also judge an n-gram of this corpus.")
@click.option("--samples", type=int, default=0, help="Also draw so many samples from empty prompts.")
def main(model: Path | None, corpus: Path | None, samples: int) -> None:
    """Judge, and print one JSON line."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        engine, fim = _open(model or bundled.FOLDER, scratch)
        opened_seconds = time.monotonic() - began
        holes = general_holes()
        figures = {"model": _sum_up([_judge_model(engine, fim, hole) for hole in holes])}
        figures["copy"] = _sum_up([Judged(h, copied_line(h.hole.prefix, h.hole.suffix)) for h in holes])
        if corpus:
            ngram = NGram(_encoded(corpus, fim), engine.model.vocab_size)
            judge = NGramJudge(ngram, fim, Tokenizer.from_file(str((model or bundled.FOLDER) / "tokenizer.json")))
            figures["ngram"] = _sum_up([judge.judge(hole) for hole in holes])
        said = {"first_completion_s": round(opened_seconds, 1), "n_holes": len(holes), **figures}
        if samples:
            said["unasked"] = _unasked(engine, fim, samples)
        engine.close()
    print(json.dumps(said))


def _open(folder: Path, scratch: str) -> tuple[CompiledEngine, FimTokenizer]:
    """Import into a home of its own, compile, and complete once: the whole way of a fresh machine."""
    os.environ["UNDERSTUDY_HOME"] = scratch
    name = import_model(folder, QUANTIZATIONS["q8f16_g32"], "judged").name
    engine = open_engine(name)
    fim = FimTokenizer.open(folder)
    first = fim.prompt(general_holes()[0].hole)
    _complete(engine, first, Sampling(max_tokens=8))
    return engine, fim


def _judge_model(engine: CompiledEngine, fim: FimTokenizer, hole: GeneralHole) -> Judged:
    prompt = fim.prompt(hole.hole)
    scores = list(engine.score(prompt, fim.target(prompt, hole.middle)))
    logprobs = [p for score in scores for p in score.logprobs]
    greedy = [g for score in scores for g in score.greedy]
    text = _complete(engine, prompt, Sampling(max_tokens=MAX_TOKENS, stop=("\n",)))
    return Judged(hole, text, -sum(logprobs[:-1]), greedy[-1])


class NGramJudge:
    """Gives an n-gram holes cut at any character: it takes back the token that the cut may have split, and chooses among
    the tokens that begin with that text (as token healing does), for else it would fail at the cut alone."""

    def __init__(self, ngram: NGram, fim: FimTokenizer, tokenizer: Tokenizer) -> None:
        self._ngram, self._fim, self._decode = ngram, fim, tokenizer.decode
        self._texts = [self._decode([i]) for i in range(tokenizer.get_vocab_size())]

    def judge(self, hole: GeneralHole) -> Judged:
        """It sees what stands before the hole, the cursor's line encoded as the model's is."""
        cut = hole.hole.prefix.rfind("\n") + 1
        above, line = hole.hole.prefix[:cut], hole.hole.prefix[cut:]
        *kept, last = (*self._fim.encode(above)[-8:], *self._fim.encode(line)) if line else (0, 0)
        healed = self._texts[last] if line else ""
        history = kept if line else list(self._fim.encode(above)[-8:])
        return Judged(hole, self._greedy(history, healed), self._nats(history, healed, hole.middle))

    def _first(self, history: Sequence[int], healed: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The distribution of the next token, given that its text begins with `healed`."""
        p = self._ngram.distribution(history)
        if healed:
            fits = [text.startswith(healed) for text in self._texts]
            p[[not fit for fit in fits] + [True] * (len(p) - len(fits))] = 0
        return p / p.sum()

    def _nats(self, history: Sequence[int], healed: str, middle: str) -> float:
        seen, nats = list(history), 0.0
        for number, token in enumerate(self._fim.encode(healed + middle) if middle else ()):
            p = self._first(seen, healed if number == 0 else "")[token]
            if p == 0:  # the joint text is cut elsewhere: begin again without taking back
                return self._nats([*history, *self._fim.encode(healed)], "", middle)
            nats -= math.log(p)
            seen.append(token)
        return nats

    def _greedy(self, history: Sequence[int], healed: str) -> str:
        seen = list(history)
        text = ""
        while "\n" not in text and len(seen) < len(history) + MAX_TOKENS:
            token = int(self._first(seen, "" if text else healed).argmax())
            if token in self._fim.stop_ids:
                break
            seen.append(token)
            text = self._decode(seen[len(history) :])
        return text.removeprefix(healed).split("\n", 1)[0]


def _sum_up(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
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


def _encoded(corpus: Path, fim: FimTokenizer) -> Iterator[tuple[int, ...]]:
    from trainer.pretrain.corpus import read  # noqa: PLC0415  only this figure needs the trainer's packages

    for document in read(corpus):
        yield fim.encode(document.text)


def _unasked(engine: CompiledEngine, fim: FimTokenizer, n_samples: int) -> dict[str, int]:
    """Samples from an empty file of every language, and how many hold licence wording or an address."""
    from trainer.pretrain.filters import says_legal_words_or_address  # noqa: PLC0415

    names = {"python": "main.py", "typescript": "index.ts", "javascript": "index.js"}
    bad = n_chars = 0
    for number in range(n_samples):
        language = LANGUAGES[number % len(LANGUAGES)]
        prompt = fim.prompt(Hole(names[language], language, "", ""))
        text = _complete(engine, prompt, Sampling(max_tokens=96, temperature=1.0, seed=number))
        bad += says_legal_words_or_address(text)
        n_chars += len(text)
    return {"samples": n_samples, "chars": n_chars, "with_legal_words_or_address": bad}


if __name__ == "__main__":
    main()
