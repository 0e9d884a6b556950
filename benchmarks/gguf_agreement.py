"""The same GGUF file in llama.cpp and here: how alike what both predict is, over real code.

    pip install llama-cpp-python==0.3.36
    python benchmarks/gguf_agreement.py FILE.gguf [--positions 2000] [-q q8f16_g32 -q q4f16_1]

The text is this interpreter's standard library, in pieces of 256 tokens. For each quantisation of ours one row: `same`: at how
many positions the most likely token is the same; `kl`: mean Kullback-Leibler divergence of our distribution from llama.cpp's, in
nats; `median_kl`. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import statistics
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from local_runtime.engines.protocol import Prompt
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.tvm.run.opening import EngineOptions, open_engine

MODULES = (
    "argparse",
    "ast",
    "asyncio/queues",
    "calendar",
    "csv",
    "email/message",
    "heapq",
    "inspect",
    "logging/config",
    "zipfile",
)
PIECE_TOKENS = 256
FIRST = 32
"""Positions before this one have too little context to say much."""

Floats = NDArray[np.float32]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--positions", type=int, default=2000, show_default=True)
@click.option("-q", "--quantization", "names", multiple=True, default=("q8f16_g32", "q4f16_1"), show_default=True)
@click.option("--threads", type=int, default=2, show_default=True)
def main(file: Path, positions: int, names: tuple[str, ...], threads: int) -> None:
    """Compare, and print one JSON line."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        folders = {name: import_model(file, QUANTIZATIONS[name], name) for name in names}
        texts = pieces(FimTokenizer.open(next(iter(folders.values()))), positions)
        reference = [log_softmax(rows) for rows in theirs(file, texts, threads)]
        for name, folder in folders.items():
            compared = [compare(one, other) for one, other in zip(reference, ours(folder, texts, threads), strict=True)]
            same = np.concatenate([same for same, _ in compared])
            kl = np.concatenate([kl for _, kl in compared])
            figures[name] = {
                "same": round(float(same.mean()), 4),
                "kl": round(float(kl.mean()), 5),
                "median_kl": round(float(statistics.median(kl)), 5),
            }
    print(json.dumps({"file": file.name, "positions": sum(len(t) - FIRST for t in texts), **figures}))


def pieces(fim: FimTokenizer, positions: int) -> list[tuple[int, ...]]:
    """Ids of real code, PIECE_TOKENS each, enough for so many positions."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for module in MODULES:
        ids = fim.encode((library / f"{module}.py").read_text(encoding="utf-8"))
        found.append(ids[PIECE_TOKENS : 2 * PIECE_TOKENS])
    wanted = -(-positions // (PIECE_TOKENS - FIRST))
    if wanted > len(found):
        raise click.ClickException(f"at most {len(found) * (PIECE_TOKENS - FIRST)} positions")
    return found[:wanted]


def theirs(file: Path, texts: list[tuple[int, ...]], threads: int) -> list[Floats]:
    """llama.cpp's logits after each position from FIRST on."""
    from llama_cpp import Llama  # noqa: PLC0415  compiled when it is installed: the help should not need it

    llama = Llama(
        str(file), n_ctx=PIECE_TOKENS, n_batch=PIECE_TOKENS, n_threads=threads, logits_all=True, verbose=False
    )
    found = []
    for ids in texts:
        llama.reset()
        llama.eval(list(ids))
        found.append(np.array(llama.scores[FIRST : len(ids)], np.float32))
    return found


def ours(folder: Path, texts: list[tuple[int, ...]], threads: int) -> list[Floats]:
    """Our logits at the same positions."""
    engine = open_engine(folder.name, EngineOptions(n_threads=threads))
    verify, seen = engine._runtime.verify, []

    def watched(*arguments: Any) -> Any:
        rows = verify(*arguments)
        seen.append(np.array(rows.logits, np.float32))
        return rows

    engine._runtime.verify = watched
    found = []
    for ids in texts:
        seen.clear()
        # The last target is scored, not read: one more than there are.
        list(engine.score(Prompt(ids[: FIRST + 1]), (*ids[FIRST + 1 :], 0)))
        found.append(np.concatenate(seen))
    engine.close()
    return found


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities of each row."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def compare(reference: Floats, logits: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Per position: whether the most likely token is the same, and the divergence. Vocabularies may be padded differently."""
    n = min(reference.shape[1], logits.shape[1])
    found = log_softmax(logits[:, :n])
    kl = (np.exp(reference[:, :n]) * (reference[:, :n] - found)).sum(axis=-1)
    return reference[:, :n].argmax(axis=-1) == found.argmax(axis=-1), kl


if __name__ == "__main__":
    main()
