"""Where a keystroke's time goes, from the editor through both processes and back.

    python benchmarks/lsp_stages.py [--keystrokes 110]

Real code is typed into the real language server with the real daemon on the tests' tiny model, each key after the answer to the
one before and a pause, so that both processes have gone to sleep, as in life. Both run with marks put around their own functions; the
clock is one for the whole machine. Given are medians in ms, of the keys for which the model was asked. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.12
COMPILE_SECONDS = 600.0
SERVER = {
    "edit read": "lsp_server.protocol:Protocol.receive",
    "request handled": "lsp_server.session:Session.complete",
    "policy": "lsp_server.completer:Completer._answer",
    "context chosen": "lsp_server.completer:Completer._generate",
    "asked": "lsp_server.runtime:Runtime.stream",
    "sent": "local_runtime.client.unix_transport:_Stream.write",
    "enough": "lsp_server.generation:Generation._end",
    "postprocess": "lsp_server.completer:Completer._finish",
    "items": "lsp_server.session:Session._items",
}
DAEMON = {
    "arrived": "local_runtime.daemon.service:Service._ready",
    "queued": "local_runtime.daemon.scheduler:Scheduler.submit",
    "engine begins": "local_runtime.tvm.run.compiled_engine:CompiledEngine.stream",
    "prefill": "local_runtime.tvm.run.compiled_engine:CompiledEngine._forward",
    "first token": "local_runtime.tvm.run.generation:Generation.take",
    "engine ends": "local_runtime.daemon.scheduler:Scheduler._end",
}
STAGES = ("key", "edit read", "request handled", "policy", "context chosen", "asked", "sent", "arrived", "queued", "engine begins", "prefill", "first token", "engine ends", "enough", "postprocess", "items", "answered")  # fmt: skip
Mark = tuple[float, str]


def mark(places: dict[str, str], path: Path) -> None:
    """Note when each of these functions is entered; write it all down at the end."""
    marks: list[Mark] = []
    for stage, place in places.items():
        module, _, dotted = place.partition(":")
        owner_name, _, name = dotted.rpartition(".")
        owner = getattr(__import__(module, fromlist=[""]), owner_name)
        setattr(owner, name, _marked(getattr(owner, name), stage, marks))
    atexit.register(lambda: path.write_text(json.dumps(marks)))


def _marked(function: Callable[..., Any], stage: str, marks: list[Mark]) -> Callable[..., Any]:
    def marked(*arguments: Any, **named: Any) -> Any:
        marks.append((time.perf_counter(), stage))
        return function(*arguments, **named)

    return marked


async def type_keys(n_keys: int, folder: Path) -> list[tuple[float, float]]:
    """When each key was pressed and when its answer was read."""
    from editor import Editor  # noqa: PLC0415
    from lsp_replay_typist import scenes  # noqa: PLC0415

    (scene,) = scenes(1, n_keys)
    keys = []
    async with Editor(folder) as editor:
        await editor.heard(lambda m: m["params"].get("state") == "ready", seconds=COMPILE_SECONDS)
        for path, text in scene.neighbours:
            editor.open(path, text)
        uri = editor.open(scene.path, scene.before + scene.after)
        typed = scene.before
        for key in scene.keys:
            line, column = typed.count("\n"), len(typed.rpartition("\n")[2])
            typed = typed[: len(typed) - key.n_back] + key.text
            began = time.perf_counter()
            editor.edit(uri, line, column - key.n_back, key.text, key.n_back)
            await editor.text(uri, typed.count("\n"), len(typed.rpartition("\n")[2]))
            keys.append((began, time.perf_counter()))
            await asyncio.sleep(PAUSE_SECONDS)
    return keys


def by_stage(keys: list[tuple[float, float]], marks: list[Mark]) -> dict[str, Any]:
    """Medians between one stage's first mark of a key and the next one's."""
    spans: dict[str, list[float]] = {}
    totals = []
    for began, ended in keys:
        first = {"key": began, "answered": ended}
        for at, stage in sorted(marks):
            if began <= at <= ended:
                first.setdefault(stage, at)
        if "sent" not in first or "first token" not in first or "engine ends" not in first:
            continue
        totals.append((ended - began) * 1000)
        for stage, following in pairwise(stage for stage in STAGES if stage in first):
            spans.setdefault(f"{stage} → {following}", []).append((first[following] - first[stage]) * 1000)
    usual = {name: round(statistics.median(ms), 2) for name, ms in spans.items() if len(ms) > len(totals) / 2}
    return {"n": len(totals), "total_p50_ms": round(statistics.median(totals), 2), "stages_ms": usual}


def main() -> None:
    """Start a marked daemon and a marked server, and type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keystrokes", type=int, default=110)
    arguments = parser.parse_args()
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / folder) for folder in ("lsp", ".")]
    import editor  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        files = {role: Path(home) / f"{role}.json" for role in ("server", "daemon")}
        editor.COMMAND = (sys.executable, __file__, "server", str(files["server"]), "lsp")
        daemon = subprocess.Popen([sys.executable, __file__, "daemon", str(files["daemon"])])
        try:
            keys = asyncio.run(type_keys(arguments.keystrokes, Path(home)))
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()
        marks = [tuple(one) for file in files.values() for one in json.loads(file.read_text())]
    print(json.dumps({"benchmark": "lsp_stages", **by_stage(keys, marks)}, ensure_ascii=False))


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        from local_runtime.cli.command import main as understudy

        mark(SERVER, Path(sys.argv[2]))
        sys.argv = ["understudy", *sys.argv[3:]]
        understudy()
    elif sys.argv[1:2] == ["daemon"]:
        from local_runtime.daemon.process import run

        mark(DAEMON, Path(sys.argv[2]))
        run("{}", None)
    else:
        main()
