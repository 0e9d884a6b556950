"""How much of a prompt is computed again at each keystroke of a typed line.

    python benchmarks/engine_reuse.py MODEL [FILE.py]

A line of FILE (default: a module of the standard library) is typed character by character in the middle of it, with
related pieces before it so that the prompt has about 1,500 tokens; at each keystroke a completion is asked for and
generated. Counted: prompt tokens that had to be computed per keystroke, after the first request. Also: the longest forward of a prefill at
this depth, which is how long a cancel can take, and the time of a prefill by size of chunk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import textwrap
import time
from pathlib import Path

from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.tvm.run import compiled_engine
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine

N_KEYSTROKES = 40


def holes(text: str, n_lines: int) -> list[list[Hole]]:
    """For some lines of 40 characters or more: the hole after each typed character."""
    lines = text.splitlines(keepends=True)
    found = [n for n in range(60, len(lines) - 60) if len(lines[n].strip()) >= N_KEYSTROKES]
    typed = []
    for n in found[:: max(len(found) // n_lines, 1)][:n_lines]:
        above, line, below = "".join(lines[:n]), lines[n].rstrip("\n"), "\n" + "".join(lines[n + 1 :])
        start = len(line) - len(line.lstrip())
        typed.append(
            [Hole("module.py", "python", above + line[: start + k], below) for k in range(1, N_KEYSTROKES + 1)]
        )
    return typed


def chunk_times(engine: CompiledEngine, prompt: Prompt) -> dict[str, dict[str, float]]:
    """Total time of a prefill and its longest forward, by size of chunk."""
    times = {}
    for size in (32, 64, 96, 128):
        compiled_engine.CHUNK_TOKENS = size
        totals, longest = [], []
        for _ in range(5):
            engine._sequences.clear()
            began = before = time.perf_counter()
            forwards = []
            for piece in engine.stream(prompt, Sampling(max_tokens=1)):
                now = time.perf_counter()
                forwards.append(now - before)
                before = now
                if piece.stop:
                    break
            totals.append((before - began) * 1000)
            longest.append(max(forwards) * 1000)
        times[str(size)] = {
            "prefill_ms": round(statistics.median(totals), 1),
            "longest_ms": round(statistics.median(longest), 1),
        }
    compiled_engine.CHUNK_TOKENS = 128
    return times


def main() -> None:
    """Type the lines, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("file", nargs="?", default=textwrap.__file__)
    parser.add_argument("--lines", type=int, default=8)
    arguments = parser.parse_args()
    engine = open_engine(arguments.model, EngineOptions())
    assert engine.model.folder is not None
    tokenizer = FimTokenizer.open(engine.model.folder)
    related = [Chunk("json/decoder.py", Path(json.decoder.__file__).read_text(encoding="utf-8"))]
    sizes, computed, first_ms = [], [], []
    for line in holes(Path(arguments.file).read_text(encoding="utf-8"), arguments.lines):
        for n, hole in enumerate(line):
            prompt = tokenizer.prompt(hole, related, sequence="module.py")
            before, began = engine.prefilled_tokens, time.perf_counter()
            stream = engine.stream(prompt, Sampling(max_tokens=24))
            first = next(piece for piece in stream if piece.token_ids or piece.stop)
            if n:
                first_ms.append((time.perf_counter() - began) * 1000)
                computed.append(engine.prefilled_tokens - before)
            sizes.append(len(prompt.token_ids))
            if not first.stop:
                list(stream)
    result = {"benchmark": "engine_reuse", "model": arguments.model, "prompt_tokens": round(statistics.mean(sizes))}
    result |= {
        "keystrokes": len(computed),
        "prefilled_per_keystroke": round(statistics.mean(computed), 3),
        "most": max(computed),
    }
    result |= {"first_token_ms": round(statistics.median(first_ms), 2), "chunks": chunk_times(engine, prompt)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
