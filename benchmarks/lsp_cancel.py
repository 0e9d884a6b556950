"""How soon a generation stops that nobody wants any more: forwards that begin after the cancel has arrived.

    python benchmarks/lsp_cancel.py [--rounds 500]

The real language server asks a real daemon (in this process, so that its forwards can be timed) whose echo engine says one
letter and never ends by itself. Each round cancels in one of three ways: an edit that leaves the text, a request elsewhere,
closing the document. Counted are forwards of that request that began after the daemon saw its connection close; one may be under way then, a second
must never begin. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lsp"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "daemon"))
from daemon_in_process import running
from editor import Editor
from uvicorn.protocols.http.h11_impl import H11Protocol

from local_runtime.client.sockets import socket_path
from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.engines.protocol import Adapter, Piece, Prompt, Sampling

FORWARD_MS = 5.0


class Timed(EchoEngine):
    """Notes when each forward of the stream at hand began."""

    def __init__(self) -> None:
        super().__init__(default=Script(("x",) * 4, delay_ms=600_000), forward_ms=FORWARD_MS)
        self.began: list[float] = []

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        """As the echo engine does."""
        self.began = []
        pieces = super().stream(prompt, sampling, adapter, strength)
        try:
            while True:
                self.began.append(time.perf_counter())
                yield next(pieces)
        finally:
            pieces.close()  # type: ignore[attr-defined]


async def measure(n_rounds: int, folder: Path) -> dict[str, object]:
    """Ask and cancel, `n_rounds` times."""
    engine = Timed()
    closed: list[float] = []
    lost = H11Protocol.connection_lost

    def connection_lost(self: H11Protocol, problem: Exception | None) -> None:
        closed.append(time.perf_counter())
        lost(self, problem)

    H11Protocol.connection_lost = connection_lost  # type: ignore[method-assign]
    later: list[int] = []
    stop_ms: list[float] = []
    async with running(engine) as daemon:
        socket_path().parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        socket_path().symlink_to(daemon.socket)
        options = {"startRuntime": False, "deadlineMs": 10_000, "debounceCeilingMs": 0, "prefetch": False}
        async with Editor(folder, options=options) as editor:
            uri = editor.open("a.py", "\n" * 10)
            editor.ask_at(uri, 0, 0)  # has the server look for the daemon
            await editor.ready()
            await daemon.until(lambda: len(engine.requests) > 0)
            for round_ in range(n_rounds):
                aborts, n_asked = engine.aborts, len(engine.requests)
                editor.edit(uri, 5, 0, f"name_{round_} = \n")
                editor.ask_at(uri, 5, len(f"name_{round_} = "))
                await daemon.until(lambda n=n_asked: len(engine.requests) > n and len(engine.began) > 1)  # type: ignore[misc]
                aborts, began = engine.aborts, engine.began
                closed.clear()
                cancelled = time.perf_counter()
                if round_ % 3 == 0:
                    editor.edit(uri, 5, len(f"name_{round_} = "), "q")
                elif round_ % 3 == 1:
                    editor.ask_at(uri, 0, 0)
                else:
                    editor.close(uri)
                await daemon.until(lambda n=aborts: engine.aborts > n and bool(closed))  # type: ignore[misc]
                arrived = min(closed)
                later.append(sum(at > arrived for at in began))
                stop_ms.append((max(began[-1], arrived) - cancelled) * 1000)
                if round_ % 3 == 1:  # what was asked for elsewhere is not to be mistaken for the next round's
                    await daemon.until(lambda n=n_asked: len(engine.requests) > n + 1)  # type: ignore[misc]
                elif round_ % 3 == 2:
                    uri = editor.open("a.py", "\n" * 10)
    stop_ms.sort()
    return {
        "rounds": n_rounds,
        "forward_ms": FORWARD_MS,
        "forwards_after_arrival": {str(n): later.count(n) for n in sorted(set(later))},
        "second_forwards": sum(n > 1 for n in later),
        "edit_to_last_forward_p50_ms": round(stop_ms[len(stop_ms) // 2], 1),
        "edit_to_last_forward_p95_ms": round(stop_ms[int(0.95 * len(stop_ms))], 1),
    }


def main() -> None:
    """In a home of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        print(json.dumps({"benchmark": "lsp_cancel", **asyncio.run(measure(arguments.rounds, Path(home)))}))


if __name__ == "__main__":
    main()
