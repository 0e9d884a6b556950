"""What a night costs on this machine: minutes and peak memory of a night with 60 new lines, and how soon it makes way.

    python benchmarks/night_cost.py [--steps N] [--first-steps N]

The tests' tiny model, in a home of its own. A first night learns an invented house (270 edits: a fifth is enough for the gate); then 10 edits with 60 new
lines are added, and a warm night is measured: collecting, training, judging through the daemon. In the middle of its training a
completion is asked for, as an editor does; `yield_s` is the time from that request to the training process standing
still. Memory is the training process' peak (resident). One JSON line at the end.
"""

from __future__ import annotations

import json
import threading
import time

import click
import psutil
from night_world import add, house, own_home

from local_runtime.client.client import Client
from local_runtime.places import places
from local_runtime.prompts.hole import Hole
from trainer.nightly.conditions import load_per_core
from trainer.nightly.events import Event
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Record, Stage
from trainer.nightly.user_activity import ActivityMonitor

FIRST_EDITS, NEW_EDITS, NEW_LINES = 270, 10, 60


def run(night: Night, key_at_step: int = 0) -> tuple[Record, float, float | None]:
    """A night; its record, its seconds, and from key to standstill if a key is to be pressed at a step."""
    began, pressed, stood = time.monotonic(), [0.0], None
    record = None
    for event in night.events():
        if key_at_step and event.step == key_at_step:
            threading.Thread(target=press, args=(pressed,)).start()
        if event.paused and pressed[0]:
            stood = time.monotonic() - pressed[0]
        record = event.record or record
        show(event)
    assert record is not None
    return record, time.monotonic() - began, stood


def press(pressed: list[float]) -> None:
    """One completion, as an editor asks for it."""
    with Client("editor") as client:
        client.wait_ready()
        pressed[0] = time.monotonic()
        client.complete(Hole("shop/new.py", "python", "def find(ctx):\n    return ", ""))


def show(event: Event) -> None:
    """A line for who watches."""
    if event.done is None or event.done % 10 == 0:
        print(f"{event.stage.value:>8}  {event.text}", flush=True)


@click.command()
@click.option("--steps", default=0, help="At most so many steps in the night that is measured (0: the recipe's).")
@click.option("--first-steps", default=0, help="The same for the night before it.")
def main(steps: int, first_steps: int) -> None:
    """See the module's docstring."""
    with own_home() as home:
        look = ActivityMonitor()
        options = LearnOptions(resume_seconds=2.0)
        add(home / "shop", house(home / "shop", FIRST_EDITS))
        first, first_seconds, _ = run(Night(options, look, max_steps=first_steps))
        add(home / "shop", house(home / "shop", NEW_EDITS, first=FIRST_EDITS))
        record, seconds, yield_seconds = run(Night(options, look, max_steps=steps), key_at_step=5)
        look.close()
        left = sum(path.stat().st_size for path in (places().data / "runs").rglob("*") if path.is_file())
    result = {
        "new_lines": NEW_LINES,
        "kind": record.reason.value,
        "minutes": round((seconds - record.paused_seconds) / 60, 2),
        "seconds_by_stage": {name: round(value, 1) for name, value in record.seconds.items()},
        "steps": record.n_steps,
        "peak_mb": round(record.peak_memory_bytes / 1e6),
        "yield_s": None if yield_seconds is None else round(yield_seconds, 2),
        "paused_s": round(record.paused_seconds, 1),
        "first_night_minutes": round(first_seconds / 60, 2),
        "first_night_promoted": first.promoted,
        "outcome": record.outcome,
        "left_kb": left // 1000,
        "load_per_core": round(load_per_core(), 1),
        "cores": psutil.cpu_count(),
    }
    assert Stage.GATE.value in record.seconds, record.outcome
    print(json.dumps(result))


if __name__ == "__main__":
    main()
