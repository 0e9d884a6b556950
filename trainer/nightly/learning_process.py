"""`python -m trainer.nightly.learning_process RUN STAGE FD`: the child that makes the examples, then trains. The only one with torch.

It lowers its own priority, reports in JSON lines on the descriptor FD, and ends when its parent does (its standard input closes).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil

from local_runtime.errors import NotReady, OutOfMemory, RuntimeFault
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.records.outcomes import Outcome, database, read_outcomes
from trainer.collect.journal import Journal
from trainer.disk import DiskFull, disk_fault
from trainer.examples.dataset import NIGHTLY, REBUILD, Mix, held_out_examples, mixture
from trainer.examples.store import read_examples, write_examples
from trainer.nightly.corpus import corpus, read_learnt, write_learnt
from trainer.nightly.runs import Reason, Record, Stage, read_record
from trainer.nightly.training_process import Done, Fault, Placed, Step, Word
from trainer.scarce_memory import memory_fault
from trainer.tuning.recipe import preset

TRAIN, POOL, TUNING = "train.jsonl", "pool.jsonl", "tuning"
PLACEMENT = "placement.json"
ADAPTER = f"{TUNING}/adapter"
LOWEST_PRIORITY = 19


def main() -> None:
    """Run one stage of a run, and say how it went."""
    run, stage, descriptor = Path(sys.argv[1]), Stage(sys.argv[2]), int(sys.argv[3])
    _make_way()  # first: threads inherit it
    _end_with_parent()
    with os.fdopen(descriptor, "wb", buffering=0) as pipe:

        def say(word: Word) -> None:
            pipe.write(msgspec.json.encode(word) + b"\n")

        try:
            record = read_record(run)
            if record is None:
                raise NotReady(f"{run} holds no run", "understudy learn now")
            {Stage.COLLECT: make_examples, Stage.TUNE: tune_examples}[stage](run, record, say)
            say(Done())
        except (RuntimeFault, OSError, MemoryError, RuntimeError, ImportError) as problem:
            fault = _fault(problem)
            if fault is None:
                raise
            say(
                Fault(
                    fault.message,
                    fault.remedy,
                    out_of_memory=isinstance(fault, OutOfMemory),
                    disk_full=isinstance(fault, DiskFull),
                )
            )


def _fault(problem: Exception) -> RuntimeFault | None:
    """What to tell the user of a failure; None for one of the program's own."""
    if isinstance(problem, RuntimeFault):
        return problem
    return memory_fault(problem) or (disk_fault(problem) if isinstance(problem, OSError) else None)


def make_examples(run: Path, record: Record, say: Callable[[Word], None]) -> None:
    """Fix the corpus, and write what is trained on and what is judged with into the run."""
    fixed = read_learnt(run)
    with closing(Journal()) as journal:
        found = corpus(journal, last_id=fixed.last_id if fixed else None, seen_until=record.seen_until)
    known = [*found.train, *found.pool]
    fim = FimTokenizer.open(registry.find(record.model))
    mix = _mix(record.reason)
    # Drawn anew each night, yet the same for the same edits.
    seed = int(found.learnt.hash[:8], 16) if record.reason.is_warm else record.seed
    train = mixture(found.train, fim, seed, mix=mix, outcomes=_outcomes(found.learnt.trained_until), known=known)
    write_examples(run / TRAIN, train)
    write_examples(run / POOL, held_out_examples(found.pool, known))
    write_learnt(run, found.learnt)


def tune_examples(run: Path, record: Record, say: Callable[[Word], None]) -> None:
    """Train on the run's examples; each step goes to the parent, and to `steps.jsonl` for the report."""
    import torch  # noqa: PLC0415 - it takes seconds

    from trainer.tuning.placement import holds_memory, place_once  # noqa: PLC0415
    from trainer.tuning.tune import tune  # noqa: PLC0415

    model = ModelFolder.open(registry.find(record.model))
    warm_start = places().adapters / record.parent if record.parent else None
    steps = run / "steps.jsonl"
    recipe = preset(record.preset)
    if record.max_steps:
        recipe = replace(recipe, max_steps=min(recipe.max_steps, record.max_steps))
    placement = place_once(run / PLACEMENT, model, recipe)
    say(Placed(placement.device, holds_memory(placement)))
    try:
        for report in tune(model, read_examples(run / TRAIN), recipe, run / TUNING, warm_start, placement=placement):
            word = Step(report.step, report.n_steps, report.loss, report.seconds, report.rate)
            with steps.open("ab") as file:
                file.write(msgspec.json.encode(word) + b"\n")
            say(word)
    except torch.OutOfMemoryError:
        raise OutOfMemory(
            f"the memory of {placement.device} was not enough to train", "understudy train --estimate"
        ) from None


def _mix(reason: Reason) -> Mix:
    """A warm night learns what is new; the first one, like a rebuild, all alike, but less of it."""
    if reason.is_warm:
        return NIGHTLY
    return replace(REBUILD, max_examples=NIGHTLY.max_examples) if reason is Reason.FIRST else REBUILD


def _outcomes(until: float) -> list[Outcome]:
    """What became of suggestions up to the newest edit that is trained on: it no longer changes while a run is resumed."""
    return [one for one in read_outcomes(database()) if one.shown_at <= until]


def _end_with_parent() -> None:
    """When the parent is gone its end of our standard input is closed; a process that trains for nobody must not stay."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1 << 10):
                pass
        os._exit(os.EX_TEMPFAIL)

    threading.Thread(target=wait, daemon=True).start()


def _make_way() -> None:
    """The lowest priority for the processor and the disk."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    if sys.platform.startswith("linux"):
        with contextlib.suppress(psutil.Error, OSError):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


if __name__ == "__main__":
    main()
