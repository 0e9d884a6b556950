"""HumanEval's single-line infilling, of a model of ours and of llama.cpp on the same GGUF file.

    python benchmarks/infilling.py HumanEval-SingleLineInfilling.jsonl.gz [--model NAME] [--gguf FILE] [--problems 150]

The data is in the public repository openai/human-eval-infilling (MIT), folder `data`; this script takes the file's path. With
`--gguf` llama.cpp (pip install llama-cpp-python==0.3.36) answers the very same prompts. `first_line`: the first line is exactly
the one that is missing; `whole`: that line, and then the end; greedy, up to 64 tokens. Nothing that a model writes is run.
Prints one JSON line.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import click

from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.model.chosen import chosen_model
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.tvm.run.opening import EngineOptions, open_engine

MAX_TOKENS = 64
CONTEXT_TOKENS = 2048

Answer = Callable[[Prompt], str]


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Name of an imported model. Default: the chosen one.")
@click.option("--gguf", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For llama.cpp.")
@click.option("--problems", type=int, default=150, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=2, show_default=True)
def main(*, data: Path, model: str | None, gguf: Path | None, problems: int, seed: int, threads: int) -> None:
    """Ask, and print one JSON line."""
    with gzip.open(data, "rt", encoding="utf-8") as opened:
        found = [json.loads(line) for line in opened]
    random.Random(seed).shuffle(found)
    found = found[:problems]
    name = model or chosen_model()
    engine = open_engine(name, EngineOptions(n_threads=threads))
    assert engine.model.folder is not None
    fim = FimTokenizer.open(engine.model.folder)
    prompts = [fim.prompt(Hole("solution.py", "python", one["prompt"], one["suffix"])) for one in found]
    expected = [one["canonical_solution"] for one in found]

    def ours(prompt: Prompt) -> str:
        return "".join(piece.text for piece in engine.stream(prompt, Sampling(max_tokens=MAX_TOKENS)))

    figures: dict[str, Any] = {"problems": len(found), "model": name, "quantization": engine.model.quantization}
    figures["ours"], texts = judge(ours, prompts, expected)
    engine.close()
    if gguf is not None:
        figures["llama.cpp"], others = judge(llama_cpp(gguf, fim, threads), prompts, expected)
        figures["same_first_line"] = mean(
            one.split("\n")[0] == other.split("\n")[0] for one, other in zip(texts, others, strict=True)
        )
    print(json.dumps(figures))


def judge(answer: Answer, prompts: list[Prompt], expected: list[str]) -> tuple[dict[str, float], list[str]]:
    """Figures and texts of one side."""
    texts, seconds = [], []
    for prompt in prompts:
        began = time.perf_counter()
        texts.append(answer(prompt))
        seconds.append(time.perf_counter() - began)
    rows = list(zip(texts, expected, strict=True))
    return {
        "first_line": round(mean(text.split("\n")[0].rstrip() == line.rstrip("\n").rstrip() for text, line in rows), 3),
        "whole": round(mean(text.rstrip() == line.rstrip() for text, line in rows), 3),
        "median_seconds": round(median(seconds), 3),
    }, texts


def llama_cpp(file: Path, fim: FimTokenizer, threads: int) -> Answer:
    """llama.cpp's greedy answer to the same ids."""
    from llama_cpp import Llama  # noqa: PLC0415  only with --gguf

    llama = Llama(str(file), n_ctx=CONTEXT_TOKENS, n_threads=threads, verbose=False)

    def answer(prompt: Prompt) -> str:
        written: list[int] = []
        llama.reset()
        for token in llama.generate(list(prompt.token_ids), temp=0.0, top_k=1, repeat_penalty=1.0):
            if token in prompt.stop_ids or len(written) == MAX_TOKENS:
                break
            written.append(token)
        text: str = llama.detokenize(written).decode("utf-8", "replace")
        return text.removeprefix(prompt.healed) if prompt.healed else text

    return answer


if __name__ == "__main__":
    main()
