"""Swapping and rolling back an adapter under load, through the real daemon: how long it takes, and what fails meanwhile.

    python benchmarks/gate_swap.py [--swaps 60] [--clients 3]

The tests' tiny model in a home of its own. Two random adapters of rank 16 are promoted as versions; then, while several clients
complete without a pause, they are swapped by `Serving.select` and rolled back by `Versions.rollback` (both as the commands
and the night do it: process to daemon, remembered on disk), and asked for by name as the gate does. Every answer must come
whole, from the base or one of the two, and be, letter for letter, what that adapter says when nobody else asks. `first_ms`:
a promotion with all its bookkeeping, of an adapter that the daemon has not read yet. `daemon_ms`: the daemon's own share, from the
request's arrival to its answer, by the daemon's log; the rest of `swap_ms` and `rollback_ms` is the process that asks, which has
to be given a core, too: `load_per_core` says how many wanted one. One JSON line.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_model

from local_runtime.client.client import Ask, AsyncClient, Client
from local_runtime.client.sockets import log_path
from local_runtime.engines.protocol import Sampling
from local_runtime.model import registry
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.hole import Hole
from trainer.adapters.versions import Versions
from trainer.edits import Verdict

RANK = 16
SAMPLING = Sampling(max_tokens=16)
HOLES = [
    Hole(f"f{n}.py", "python", f"import os\n\n\ndef read_{n}(path):\n    with open(path) as file:\n        ", "\n")
    for n in range(6)
]


def write_adapter(folder: Path, model: ModelFolder, seed: int) -> Path:
    """Random matrices on all linears, large enough to change what is said."""
    dice = np.random.default_rng(seed)
    tensors = {}
    for fused in fused_tensors(model.config):
        for part in fused.parts:
            if fused.takes_adapter:
                n_out, n_in = fused.part_shape(part)
                stem = f"base_model.model.{part.name.removesuffix('.weight')}"
                for side, shape in (("A", (RANK, n_in)), ("B", (n_out, RANK))):
                    tensors[f"{stem}.lora_{side}.weight"] = dice.normal(0, 0.05, shape).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": RANK}))
    (folder / "manifest.json").write_text(json.dumps({"base_hash": model.base_hash}))
    return folder


def timed_ms(work: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def promote(versions: Versions, source: Path) -> float:
    """Make a version of a folder; how long that took, in ms."""
    name = versions.stage(source)
    return timed_ms(lambda: versions.promote(name, Verdict(True, ("for the benchmark",))))


def alone(client: Client, names: list[str | None]) -> dict[str | None, list[str]]:
    """What each adapter says to each hole when nobody else asks, by the adapter's content id."""
    said: dict[str | None, list[str]] = {}
    for name in names:
        answers = [client.complete(hole, sampling=SAMPLING, ask=Ask(adapter=name or "base")) for hole in HOLES]
        said[answers[0].adapter_id] = [answer.text for answer in answers]
    return said


class Load:
    """Clients that ask without a pause until told to stop."""

    def __init__(self, said: dict[str | None, list[str]]) -> None:
        self.said = said
        self.n_answers = 0
        self.failures: list[str] = []
        self.served: set[str | None] = set()
        self.stopped = False

    async def client(self, number: int) -> None:
        """One client."""
        async with AsyncClient(f"load{number}", start=False) as client:
            at = number
            while not self.stopped:
                at = (at + 1) % len(HOLES)
                try:
                    answer = await client.complete(HOLES[at], sampling=SAMPLING)
                except Exception as failure:
                    self.failures.append(repr(failure))
                    continue
                self.n_answers += 1
                self.served.add(answer.adapter_id)
                if answer.text != self.said[answer.adapter_id][at]:
                    self.failures.append(f"{answer.adapter_id} said {answer.text!r} to hole {at}")


def swap_and_roll_back(base_hash: str, swaps: int) -> tuple[list[float], list[float]]:
    """In a process of its own, as the night and the commands are; times in ms."""
    versions = Versions(base_hash=base_hash)
    swap_ms, back_ms = [], []
    for _ in range(swaps):
        versions.serving.select(None)
        swap_ms.append(timed_ms(lambda: versions.serving.select("personal-1")))
        swap_ms.append(timed_ms(lambda: versions.serving.select("personal-2")))
        back_ms.append(timed_ms(versions.rollback))
        assert versions.current().name == "personal-1"
    return swap_ms, back_ms


async def under_load(load: Load, n_clients: int, base_hash: str, swaps: int) -> tuple[list[float], list[float]]:
    """Swap in another process while the clients ask in this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        clients = [asyncio.create_task(load.client(number)) for number in range(n_clients)]
        times = await asyncio.get_running_loop().run_in_executor(other, swap_and_roll_back, base_hash, swaps)
        load.stopped = True
        await asyncio.gather(*clients)
    return times


def daemon_ms() -> list[float]:
    """How long each choice took in the daemon."""
    said = re.compile(r" selection ok in ([0-9.]+) ms")
    return [float(ms) for log in log_path().parent.glob("daemon.log*") for ms in said.findall(log.read_text())]


def measured(swaps: int, n_clients: int) -> dict[str, object]:
    """Promote twice, then swap and roll back under load."""
    model = ModelFolder.open(registry.find(tiny_model.ensure_imported()))
    versions = Versions(base_hash=model.base_hash)
    home = Path(os.environ["UNDERSTUDY_HOME"])
    with Client("gate-swap") as client:
        client.wait_ready()
        first_ms = [promote(versions, write_adapter(home / f"run-{seed}", model, seed)) for seed in (1, 2)]
        load = Load(alone(client, [None, "personal-1", "personal-2"]))
        n_before = len(daemon_ms())
        swap_ms, back_ms = asyncio.run(under_load(load, n_clients, model.base_hash, swaps))
        in_daemon_ms = daemon_ms()[n_before:]
        load_per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
        client.stop()
    return {
        "benchmark": "gate_swap",
        "model": model.path.name,
        "rank": RANK,
        "clients": n_clients,
        "answers": load.n_answers,
        "failed": len(load.failures),
        "failures": load.failures[:3],
        "adapters_served": len(load.served),
        "first_ms": round(max(first_ms), 1),
        "swap_ms_p50": round(statistics.median(swap_ms), 1),
        "swap_ms_max": round(max(swap_ms), 1),
        "rollback_ms_p50": round(statistics.median(back_ms), 1),
        "rollback_ms_max": round(max(back_ms), 1),
        "over_50_ms": sum(ms > 50 for ms in swap_ms + back_ms),
        "of": len(swap_ms + back_ms),
        "daemon_ms_p50": round(statistics.median(in_daemon_ms), 1),
        "daemon_ms_max": round(max(in_daemon_ms), 1),
        "load_per_core": round(load_per_core, 1),
    }


@click.command()
@click.option("--swaps", default=60, show_default=True)
@click.option("--clients", default=3, show_default=True)
def main(swaps: int, clients: int) -> None:
    """See the module's docstring."""
    with tempfile.TemporaryDirectory(prefix="understudy-swap-") as home:
        os.environ["UNDERSTUDY_HOME"] = home
        print(json.dumps(measured(swaps, clients)))


if __name__ == "__main__":
    main()
