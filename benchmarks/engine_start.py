"""A fresh process to its first token, its memory, and what it costs while it waits.

    python -m local_runtime.model.synthetic /tmp/46m --shape 46m && understudy model import /tmp/46m --quantization q8f16_g32
    python benchmarks/engine_start.py 46m-q8f16_g32

The library is compiled and the weights are packed by a first run that is not counted. Each counted run is a process of
its own: time from its start to its first token for a prompt of 32 tokens; then a prompt of 1,000 tokens and 64 more;
resident memory then, beside weights and used KV pages; CPU use over three idle seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def child(name: str, context_tokens: int) -> None:
    """One process: print a mark at the first token, then the rest."""
    from local_runtime.engines.protocol import Prompt, Sampling  # noqa: PLC0415
    from local_runtime.tvm.run.opening import EngineOptions, open_engine  # noqa: PLC0415

    engine = open_engine(name, EngineOptions(context_tokens=context_tokens))
    next(engine.stream(Prompt(tuple(range(100, 132))), Sampling()))
    print("first token", flush=True)
    import psutil  # noqa: PLC0415

    from local_runtime.model.model_folder import ModelFolder  # noqa: PLC0415
    from local_runtime.tvm.run.runtime import token_bytes  # noqa: PLC0415

    list(engine.stream(Prompt(tuple(range(200, 1200))), Sampling(max_tokens=64)))
    process = psutil.Process()
    resident = process.memory_info().rss
    used = sum(process.cpu_times()[:2])
    time.sleep(3)
    idle = (sum(process.cpu_times()[:2]) - used) / 3
    assert engine.model.folder is not None
    folder = ModelFolder.open(engine.model.folder)
    pages = engine._runtime.pages
    kv = (pages.n_pages - pages.n_free) * pages.page_tokens * token_bytes(folder.config, "float16")
    beside = resident - folder.weight_bytes - kv
    values = {"resident_mb": resident, "weights_mb": folder.weight_bytes, "kv_mb": kv, "beside_mb": beside}
    print(json.dumps({k: round(v / 1e6, 1) for k, v in values.items()} | {"idle_cpu_percent": round(100 * idle, 2)}))


def main() -> None:
    """Run the processes, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--context-tokens", type=int, default=2048)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.model, arguments.context_tokens)
        return
    seconds, last = [], {}
    for n in range(arguments.runs + 1):
        began = time.perf_counter()
        command = [
            sys.executable,
            __file__,
            arguments.model,
            "--child",
            "--context-tokens",
            str(arguments.context_tokens),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if n:
                seconds.append(time.perf_counter() - began)
            last = json.loads(process.stdout.readline())
    timing = {"first_token_s": round(statistics.median(seconds), 3), "first_token_worst_s": round(max(seconds), 3)}
    print(json.dumps({"benchmark": "engine_start", "model": arguments.model, "runs": arguments.runs} | timing | last))


if __name__ == "__main__":
    main()
