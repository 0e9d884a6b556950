"""Random kill -9s over the whole path of a night: is what serves always complete, is nothing lost, does it end the same?

    python benchmarks/night_kill.py [--kills 20] [--steps 20] [--seed 1]

The tests' tiny model, in a home of its own, where a first adapter serves. A warm night is run once in peace: the reference. Then it
is run from the same state again and again by `understudy learn now`, and at a random moment its process, its training process or the
daemon is killed -9, until that night is over or its turn is, and so on until there were enough kills. After each kill what serves
must be a complete adapter (every file read and checked) and the journal whole; at the end of each night the candidate must be
the reference's, byte for byte. A night that loses its daemon may end with a sentence and be taken up; that is counted, and no
failure unless there is more to it than a sentence. Training has one thread: beside other programs two of the lowest priority wait
for each other. One JSON line at the end; some twenty minutes with `--steps 6` on a machine that does nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import click
import psutil
from night_world import add, house, own_home

from local_runtime.adapters.peft_folder import read_adapter, read_low_ranks
from local_runtime.client.client import Client
from local_runtime.places import places
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal
from trainer.edits import Verdict
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Runs
from trainer.nightly.user_activity import UserActivity

PROGRAM = "from local_runtime.cli.command import main; main()"
VICTIMS = ("night", "training", "daemon")
N_FIRST, N_NEW = 260, 10
"""A fifth is held out: enough for the gate to ask the daemon."""


def adapter_hashes() -> set[str]:
    """SHA-256 of the weights of every adapter on disk."""
    files = places().adapters.glob("**/adapter_model.safetensors")
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def start(steps: int) -> subprocess.Popen[bytes]:
    """`understudy learn now`."""
    command = [sys.executable, "-c", PROGRAM, "learn", "now", "--steps", str(steps)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def victim_of(kind: str, night: subprocess.Popen[bytes], home: str) -> int | None:
    """The process to kill, if there is one now."""
    if kind == "night":
        return night.pid
    wanted = "trainer.nightly.learning_process" if kind == "training" else "local_runtime.daemon"
    for process in psutil.process_iter(["cmdline", "status"]):
        if wanted in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            try:
                if process.environ().get("UNDERSTUDY_HOME") == home:
                    return process.pid
            except psutil.Error:
                continue
    return None


def problems(n_edits: int, base_hash: str) -> list[str]:
    """What is wrong now, with whatever serves and with the journal."""
    found = []
    versions = Versions(base_hash=base_hash)
    choice = versions.current()
    if versions.serving.problem():
        found.append(f"what served cannot be read: {versions.serving.problem()}")
    elif choice.name is None:
        found.append("the base serves, though an adapter did")
    else:
        adapter = read_adapter(places().adapters / choice.name)
        read_low_ranks(adapter)
        if not choice.name.startswith("personal-"):
            found.append(f"{choice.name} serves, which was never judged")
    with closing(Journal()) as journal:
        if journal.problem or journal.count() != n_edits:
            found.append(f"the journal: {journal.problem or journal.count()}")
    return found


@click.command()
@click.option("--kills", default=20, show_default=True)
@click.option("--steps", default=20, show_default=True, help="Optimiser steps of each night.")
@click.option("--seed", default=1, show_default=True)
def main(kills: int, steps: int, seed: int) -> None:
    """See the module's docstring."""
    dice = random.Random(seed)
    done = dict.fromkeys(VICTIMS, 0)
    failures: list[str] = []
    nights = same = resumed = said_so = 0
    with own_home() as home:
        base_hash = served_model().base_hash
        _first_night(home, base_hash, steps)
        add(home / "shop", house(home / "shop", N_NEW, first=N_FIRST))
        n_edits = N_FIRST + N_NEW
        data, peace = home / "data", home / "peace"
        stop_daemon()
        shutil.copytree(data, peace, symlinks=True)
        before = adapter_hashes()
        began = time.monotonic()
        assert start(steps).wait() == 0
        whole_seconds = time.monotonic() - began
        (expected,) = adapter_hashes() - before
        print(f"in peace: {whole_seconds:.0f} s, {expected[:12]}", flush=True)
        while sum(done.values()) < kills:
            _as_before(data, peace)
            nights += 1
            finished = False
            while not finished:
                began, night = time.monotonic(), start(steps)
                at = began + dice.uniform(0, whole_seconds)
                kind = dice.choices(VICTIMS, (3, 2, 1))[0]
                while time.monotonic() < at and night.poll() is None:
                    time.sleep(0.02)
                pid = victim_of(kind, night, str(home)) if night.poll() is None and sum(done.values()) < kills else None
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    done[kind] += 1
                    failures += [f"{kind} killed: {problem}" for problem in problems(n_edits, base_hash)]
                _, said = night.communicate()
                if pid is None:  # the machine may be idler than it was: most kills would come too late
                    whole_seconds = max(0.7 * whole_seconds, time.monotonic() - began)
                finished = night.returncode == 0
                resumed += not finished
                if night.returncode not in (0, -signal.SIGKILL):
                    said_so += 1
                    if b"Traceback" in said or pid is None:
                        failures.append(f"after killing {kind}: {said.decode()[-300:]}")
                    finished = not Runs(places().data / "runs").unfinished()
            got = adapter_hashes() - before
            same += got == {expected}
            print(f"night {nights}: {dict(done)}, the same: {got == {expected}}", flush=True)
        left = [name for name in ("training", "night") if victim_of(name, night, str(home)) not in (None, night.pid)]
    result = {
        "kills": sum(done.values()), **done, "nights": nights, "ended_as_in_peace": same, "taken_up": resumed,
        "ended_with_a_sentence": said_so, "failures": failures[:5], "n_failures": len(failures), "orphans": len(left), "night_s": round(whole_seconds),
    }  # fmt: skip
    print(json.dumps(result))


def stop_daemon() -> None:
    """End the daemon, so that the files under it may be replaced."""
    with Client("benchmark", start=False) as client:
        client.stop()


def _as_before(data: Path, peace: Path) -> None:
    """The state in which each night begins."""
    stop_daemon()
    shutil.rmtree(data)
    shutil.copytree(peace, data, symlinks=True)


def _first_night(home: Path, base_hash: str, steps: int) -> None:
    """Have an adapter serve. One that the gate kept back is promoted all the same: the night that is killed is to be a warm one."""
    with places().config_file.open("a") as config:
        config.write("[learn]\nthreads = 1\n")
    add(home / "shop", house(home / "shop", N_FIRST))
    for _ in Night(LearnOptions(threads=1), lambda: UserActivity(None), max_steps=steps).events():
        pass
    versions = Versions(base_hash=base_hash)
    if versions.current().name is None:
        (candidate,) = versions.candidates()
        versions.promote(candidate.name, Verdict(True, ("For a benchmark.",)))


if __name__ == "__main__":
    main()
