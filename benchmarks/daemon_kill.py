"""A hundred rounds of kill -9 and of racing daemons: does the next request always succeed, and is nothing left behind?

    python benchmarks/daemon_kill.py [--rounds 100] [--seed 1]

Each round does one of: kill the daemon in the middle of a stream; kill a client process in the middle of a stream; kill
both; start four daemons at once after a kill. Then a new client asks, which must succeed within 20 seconds, and exactly
one daemon of this home may live. The echo engine answers, in a home of its own that is removed. One JSON line at the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import psutil

from local_runtime.client import lifecycle
from local_runtime.client.client import Client
from local_runtime.prompts.hole import Hole

HOLE = Hole("a.py", "python", "x = 1", "\n")
STREAMER = """
import sys
from local_runtime.client.client import Client
from local_runtime.prompts.hole import Hole
with Client("victim", overrides={"engine": sys.argv[1]}) as client:
    for piece in client.stream(Hole("a.py", "python", "x = 1", "\\n")):
        print(piece.text, flush=True)
"""


def streaming_client(engine: str) -> subprocess.Popen[bytes]:
    """A client process in the middle of a stream."""
    process = subprocess.Popen(
        [sys.executable, "-c", STREAMER, engine], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def daemons(home: str) -> list[int]:
    """Daemons of this home that live. A zombie is none: its parent has only not looked yet."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if "local_runtime.daemon" in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            try:
                if process.environ().get("UNDERSTUDY_HOME") == home:
                    found.append(process.pid)
            except psutil.Error:
                continue
    return found


def race(engine: str) -> None:
    """Four daemons started at once."""
    starters = [threading.Thread(target=lifecycle.start, args=({"engine": engine},)) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()


@click.command()
@click.option("--rounds", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(rounds: int, seed: int) -> None:
    """See the module's docstring."""
    dice = random.Random(seed)
    done = dict.fromkeys(("daemon", "client", "both", "race"), 0)
    failures: list[str] = []
    recovery_ms = []
    with tempfile.TemporaryDirectory(prefix="understudy-kill-") as home:
        os.environ["UNDERSTUDY_HOME"] = home
        engine = f"echo:{home}/echo.json"
        Path(home, "echo.json").write_text(json.dumps({"default": {"pieces": ["a"] * 40, "delay_ms": 5}}))
        with Client("watcher", overrides={"engine": engine}) as client:
            for n in range(rounds):
                victim = streaming_client(engine)
                kind = dice.choice(list(done))
                done[kind] += 1
                time.sleep(dice.uniform(0, 0.05))
                if kind in ("client", "both"):
                    victim.kill()
                if kind in ("daemon", "both", "race"):
                    os.kill(daemons(home)[0], signal.SIGKILL)
                if kind == "race":
                    race(engine)
                began = time.perf_counter()
                try:
                    assert client.complete(HOLE).text == "a" * 40
                except Exception as failure:
                    failures.append(f"round {n}, {kind}: {failure!r}")
                recovery_ms.append((time.perf_counter() - began) * 1000)
                victim.kill()
                victim.communicate()
                if len(alive := daemons(home)) != 1:
                    failures.append(f"round {n}, {kind}: {len(alive)} daemons")
            client.stop()
        left = daemons(home)
    recovery_ms.sort()
    result = {"rounds": rounds, **done, "failed": len(failures), "failures": failures[:5], "orphans": len(left)}
    print(
        json.dumps(
            result
            | {"next_request_p50_ms": round(recovery_ms[rounds // 2]), "next_request_max_ms": round(recovery_ms[-1])}
        )
    )


if __name__ == "__main__":
    main()
