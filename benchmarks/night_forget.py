"""Forget equals never seen: is an adapter rebuilt after `forget` the very one that never knew the file?

    python benchmarks/night_forget.py [--steps 20] [--threads 2]

The tests' tiny model, in a home of its own, with the journal of an invented house: once with the file `voucher.py`, which is learnt
and then forgotten, and once without it. Both adapters are rebuilt from the base and compared byte by byte; then
all files of the home are searched for the file's own words. One JSON line at the end.
"""

from __future__ import annotations

import hashlib
import json

import click
from night_world import VERBS, add, house, own_home

from local_runtime.places import places
from trainer import forgetting
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Reason, Runs
from trainer.nightly.user_activity import UserActivity

FORGOTTEN = "voucher"
N_EDITS = 80


def rebuilt(reason: Reason, steps: int, threads: int) -> str:
    """Train from the base; SHA-256 of the adapter's weights."""
    for event in Night(
        LearnOptions(threads=threads), lambda: UserActivity(None), asked=reason, max_steps=steps
    ).events():
        record = event.record
        if event.done is None or event.done % 10 == 0:
            print(f"{event.stage.value:>8}  {event.text}", flush=True)
    assert record is not None
    assert record.candidate is not None, record.outcome
    names = (record.candidate, *(path.name for path in places().adapters.glob("personal-*")))
    folder = next(places().adapters / name for name in names if (places().adapters / name).is_dir())
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


@click.command()
@click.option("--steps", default=20, show_default=True, help="Steps of each training.")
@click.option("--threads", default=2, show_default=True, help="One is faster where other programs run beside it.")
def main(steps: int, threads: int) -> None:
    """See the module's docstring."""
    with own_home() as home:
        add(home / "shop", house(home / "shop", N_EDITS, without=FORGOTTEN))
        never = rebuilt(Reason.ASKED, steps, threads)
    with own_home() as home:
        add(home / "shop", house(home / "shop", N_EDITS))
        seen = rebuilt(Reason.ASKED, steps, threads)
        forgotten = forgetting.forget(home / "shop" / f"{FORGOTTEN}.py")
        again = rebuilt(Reason.FORGET, steps, threads)
        marks = [f"{verb}_{FORGOTTEN}".encode() for verb in VERBS]
        files = [path for path in home.rglob("*") if path.is_file() and not path.is_relative_to(places().models)]
        found = [path.name for path in files if any(mark in path.read_bytes() for mark in marks)]
        n_runs = len(Runs(places().data / "runs").finished())
    result = {
        "steps": steps,
        "threads": threads,
        "edits_forgotten": forgotten.n_edits,
        "adapters_deleted": forgotten.n_adapters,
        "seen_differs": seen != never,
        "forgotten_equals_never_seen": again == never,
        "files_searched": len(files),
        "files_that_still_hold_it": found,
        "runs_left": n_runs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
