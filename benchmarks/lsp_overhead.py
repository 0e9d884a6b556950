"""What the language server itself costs: the echo engine answers at once, so all that is left is ours.

    python benchmarks/lsp_overhead.py

A file of 10,000 lines is edited in its middle, one key at a time. `model` keys reach the daemon (protocol, policy, context,
HTTP to the daemon and back, post-processing); `typed` keys follow what is shown and are answered from the cache. Times are
the editor's: from writing the edit and the request to having read the answer. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lsp"))
from echo_daemon import EchoDaemon
from editor import Editor

from local_runtime.client import lifecycle

N_LINES = 10_000
N_KEYS = 400
N_STARTS = 5
TEXT = "compute(alpha, beta)"


def percentile(values: list[float], share: float) -> float:
    """Of a list of milliseconds, rounded to 0.01."""
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 2)


async def start_ms(folder: Path) -> float:
    """From starting the process to the answer to `initialize`."""
    began = time.perf_counter()
    async with Editor(folder):
        return (time.perf_counter() - began) * 1000


async def measure(folder: Path) -> dict[str, float]:
    """Type, and take times."""
    times: dict[str, list[float]] = {"model": [], "typed": []}
    async with Editor(folder, options={"debounceCeilingMs": 0, "prefetch": False}) as editor:
        await editor.ready()
        uri = editor.open("big.py", "".join(f"value_{n} = function_{n}(argument_{n})\n" for n in range(N_LINES)))
        line = N_LINES // 2
        await editor.text(uri, line, 0)
        for key in range(N_KEYS):
            editor.edit(uri, line, 0, f"name_{key} = \n")
            times["model"].append(await _answered(editor, uri, line, len(f"name_{key} = "), TEXT))
            for n_typed in (1, 2):
                column = len(f"name_{key} = ") + n_typed
                editor.edit(uri, line, column - 1, TEXT[n_typed - 1])
                times["typed"].append(await _answered(editor, uri, line, column, TEXT[n_typed:]))
            line += 1
        resident = psutil.Process(editor.process.pid).memory_info().rss / 1e6
    return {
        **{
            f"{name}_{f'p{round(100 * share)}'}_ms": percentile(found, share)
            for name, found in times.items()
            for share in (0.5, 0.95)
        },
        "resident_mb": round(resident, 1),
    }


async def _answered(editor: Editor, uri: str, line: int, column: int, expected: str) -> float:
    began = time.perf_counter()
    text = await editor.text(uri, line, column)
    took = (time.perf_counter() - began) * 1000
    assert text == expected, (text, await editor.why())
    return took


async def main() -> None:
    """All of it, in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        EchoDaemon(Path(home)).says(TEXT)
        starts = [await start_ms(Path(home)) for _ in range(N_STARTS)]
        try:
            found = await measure(Path(home))
        finally:
            lifecycle.kill()
    print(
        json.dumps(
            {
                "benchmark": "lsp_overhead",
                "n_lines": N_LINES,
                "n_keys": N_KEYS,
                "initialize_ms": round(statistics.median(starts)),
                **found,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
