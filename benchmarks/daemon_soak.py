"""Eight clients for a minute: hang-ups, adapter switches, a scorer in the background. Does anything fail, grow or stay?

    python benchmarks/daemon_soak.py [--seconds 60] [--model NAME]

Phases of equal length, alternating: persons alone, and persons with the scorer; each with a third of the requests hung up
at random and an adapter switched every second. Without `--model` the echo engine answers (2 ms a forward). With it, the
adapters are random PEFT folders made for that model. Everything happens in a home of its own that is removed; a model is
linked into it. The last line is one JSON document:

    failed              requests that failed without having been cancelled: must be 0
    p95_ratio           p95 of a person's request with the scorer, over without: at most 1.5
    rss_mb_after_each_phase, rss_growth_mb, threads_left, fds_left    of the daemon, since the end of a warm-up; the KV pool
                        of a real model takes its memory page by page, up to a fixed size
    idle_cpu_percent    of the daemon, ten seconds after the last request
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import psutil
from safetensors.numpy import save_file

from local_runtime.client.client import Ask, AsyncClient
from local_runtime.engines.protocol import Sampling, Stop
from local_runtime.errors import RuntimeFault
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Hole

N_CLIENTS = 8
HANG_UP_SHARE = 1 / 3
PAUSE_MS = (50, 250)
N_PHASES = 6
WARM_UP_SECONDS = 5.0
IDLE_SECONDS = 10.0
PREFIX = "".join(f"def function_{n}(value):\n    return value + {n}\n\n" for n in range(60))


@dataclass
class Tally:
    """What became of the requests of one kind of phase."""

    total_ms: list[float] = field(default_factory=list)
    n_hung_up: int = 0
    n_superseded: int = 0
    failures: list[str] = field(default_factory=list)
    n_scores: int = 0

    def p95_ms(self) -> float:
        """Of the requests that were waited for."""
        return statistics.quantiles(self.total_ms, n=20)[-1] if len(self.total_ms) > 1 else float("nan")


async def person(number: int, tally: Tally, until: float) -> None:
    """Types: asks for a completion, sometimes hangs up, thinks, asks again."""
    dice = random.Random(number)
    async with AsyncClient(f"person{number}") as client:
        for n in range(1_000_000):
            if time.monotonic() > until:
                return
            hole = Hole("a.py", "python", f"{PREFIX}value_{number} = {'x' * (n % 30)}", "\n")
            asked = asyncio.create_task(
                client.complete(hole, sampling=Sampling(max_tokens=12), ask=Ask(document=f"d{n % 3}"))
            )
            began = time.perf_counter()
            try:
                if dice.random() < HANG_UP_SHARE:
                    await asyncio.sleep(dice.uniform(0, 0.03))
                    asked.cancel()
                    tally.n_hung_up += 1
                    with suppress(asyncio.CancelledError):
                        await asked
                else:
                    done = await asked
                    tally.total_ms.append((time.perf_counter() - began) * 1000)
                    tally.n_superseded += done.stop is Stop.CANCELLED
            except RuntimeFault as fault:
                tally.failures.append(repr(fault))
            await asyncio.sleep(dice.uniform(*PAUSE_MS) / 1000)


async def scorer(tally: Tally, until: float) -> None:
    """What the gate does: score without pause, in the background, with an adapter of its own."""
    async with AsyncClient("gate") as client:
        while time.monotonic() < until:
            try:
                await client.score(
                    Hole("b.py", "python", PREFIX, "\n"), "return value\n" * 8, ask=Ask(adapter="one", background=True)
                )
                tally.n_scores += 1
            except RuntimeFault as fault:
                tally.failures.append(repr(fault))


async def switcher(tally: Tally, until: float) -> None:
    """Another adapter every second."""
    async with AsyncClient("switch") as client:
        n = 0
        while time.monotonic() < until:
            try:
                await client.activate(("one", "two", None)[n % 3], 0.5 + n % 2)
            except RuntimeFault as fault:
                tally.failures.append(repr(fault))
            n += 1
            await asyncio.sleep(1)


async def phase(seconds: float, tally: Tally, *, scoring: bool) -> None:
    """Everybody at work for that long."""
    until = time.monotonic() + seconds
    work = [person(number, tally, until) for number in range(N_CLIENTS)] + [switcher(tally, until)]
    await asyncio.gather(*work, *([scorer(tally, until)] if scoring else []))


def counts(process: psutil.Process) -> dict[str, float]:
    """Resident memory (MB), threads and open files of the daemon."""
    return {"rss_mb": process.memory_info().rss / 2**20, "threads": process.num_threads(), "fds": process.num_fds()}


def write_adapters(model: ModelFolder | None) -> None:
    """Two random LoRAs of rank 8 on every q_proj, small enough not to change much."""
    dice = np.random.default_rng(0)
    for name in ("one", "two"):
        path = folder(places().adapters / name)
        config = {"r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "peft_type": "LORA"}
        (path / "adapter_config.json").write_text(json.dumps(config))
        (path / "manifest.json").write_text(json.dumps({"base_hash": model.base_hash if model else "echo"}))
        layers, hidden = (model.config.n_layers, model.config.hidden_size) if model else (1, 8)
        out = model.config.n_heads * model.config.head_dim if model else 8
        tensors = {}
        for layer in range(layers):
            module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
            tensors[f"{module}.lora_A.weight"] = dice.normal(0, 0.01, (8, hidden)).astype(np.float32)
            tensors[f"{module}.lora_B.weight"] = dice.normal(0, 0.01, (out, 8)).astype(np.float32)
        save_file(tensors, path / "adapter_model.safetensors")


async def soak(seconds: float, overrides: dict[str, str]) -> dict[str, object]:
    """All phases against one daemon."""
    async with AsyncClient("soak", overrides=overrides) as client:
        health = await client.wait_ready()
        process = psutil.Process(health.pid)
        await phase(WARM_UP_SECONDS, Tally(), scoring=True)
        await asyncio.sleep(1)
        before = counts(process)
        rss_mb = []
        alone, with_scorer = Tally(), Tally()
        for n in range(N_PHASES):
            await phase(seconds / N_PHASES, with_scorer if n % 2 else alone, scoring=bool(n % 2))
            rss_mb.append(round(process.memory_info().rss / 2**20, 1))
        await asyncio.sleep(1)
        after = counts(process)
        cpu = process.cpu_times()
        await asyncio.sleep(IDLE_SECONDS)
        idle = process.cpu_times()
        assert (await client.health()).pid == health.pid  # it was one process all the time
        await client.stop()
    failures = alone.failures + with_scorer.failures
    return {
        "model": health.model.id if health.model else None,
        "seconds": seconds,
        "completed": len(alone.total_ms) + len(with_scorer.total_ms),
        "hung_up": alone.n_hung_up + with_scorer.n_hung_up,
        "superseded": alone.n_superseded + with_scorer.n_superseded,
        "scores": with_scorer.n_scores,
        "failed": len(failures),
        "failures": failures[:3],
        "p95_alone_ms": round(alone.p95_ms(), 2),
        "p95_with_scorer_ms": round(with_scorer.p95_ms(), 2),
        "p95_ratio": round(with_scorer.p95_ms() / alone.p95_ms(), 3),
        "rss_mb_after_each_phase": rss_mb,
        "rss_growth_mb": round(after["rss_mb"] - before["rss_mb"], 2),
        "threads_left": after["threads"] - before["threads"],
        "fds_left": after["fds"] - before["fds"],
        "idle_cpu_percent": round((idle.user + idle.system - cpu.user - cpu.system) / IDLE_SECONDS * 100, 3),
    }


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--model", help="An imported model, in place of the echo engine.")
def main(seconds: float, model: str | None) -> None:
    """See the module's docstring."""
    source = registry.find(model) if model else None
    cache = places().cache
    with tempfile.TemporaryDirectory(prefix="understudy-soak-") as home:
        os.environ["UNDERSTUDY_HOME"] = home
        overrides = {"engine": f"echo:{home}/echo.json"}
        Path(home, "echo.json").write_text(
            json.dumps({"default": {"pieces": ["ab"] * 6, "delay_ms": 2}, "forward_ms": 2})
        )
        if source:
            folder(places().models)
            (places().models / source.name).symlink_to(source)
            shutil.copytree(cache, places().cache)
            overrides = {"model": source.name}
        write_adapters(ModelFolder.open(source) if source else None)
        print(json.dumps(asyncio.run(soak(seconds, overrides))))


if __name__ == "__main__":
    main()
