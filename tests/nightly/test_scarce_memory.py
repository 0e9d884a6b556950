"""Memory that is not there is told from other failures, by what really raises, and said in a sentence with what mends it."""

from __future__ import annotations

import errno
import mmap
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from night_worlds import AWAY, NOUNS, VERBS, finished, learn_from

from local_runtime.errors import OutOfMemory
from local_runtime.places import places
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions
from trainer.nightly import night as nights
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Runs, Stage
from trainer.scarce_memory import memory_fault, memory_faults

MORE_THAN_THERE_IS = 1 << 55

CHILD = """
import resource, sys
import peft, psutil, torch, transformers
from trainer.nightly.learning_process import main
import trainer.tuning.tune
room = psutil.Process().memory_info().vms + (48 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
main()
"""


@pytest.mark.parametrize(
    "fill",
    [
        lambda: torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8),
        lambda: np.empty(MORE_THAN_THERE_IS, np.uint8),
        lambda: bytearray(MORE_THAN_THERE_IS),
        lambda: mmap.mmap(-1, MORE_THAN_THERE_IS),
    ],
    ids=["torch", "numpy", "python", "system"],
)
def test_whoever_runs_out_of_memory_is_understood(fill: Callable[[], object]) -> None:
    with pytest.raises(OutOfMemory, match="not enough memory to train") as said, memory_faults():
        fill()
    assert said.value.remedy is not None
    assert "close other programs" in said.value.remedy
    assert "preset" in said.value.remedy


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),
    ],
)
def test_other_failures_stay_what_they_are(problem: Exception) -> None:
    assert memory_fault(problem) is None
    with pytest.raises(type(problem)), memory_faults():
        raise problem


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's memory is not kept elsewhere")
def test_a_night_without_the_memory_to_train_ends_in_a_sentence(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is really refused what it asks the system for, wherever it happens to ask."""
    learn_from(tmp_path / "shop", NOUNS[:3], VERBS[:3])
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    usual = nights.python

    def command(module: str, *arguments: str) -> list[str]:
        if arguments[-1] != Stage.TUNE:
            return usual(module, *arguments)
        return [sys.executable, str(script), *arguments]

    monkeypatch.setattr(nights, "python", command)
    record, _ = finished(Night(LearnOptions(threads=1), lambda: AWAY, max_steps=4).events())
    assert record.failed
    assert "not enough memory to train" in record.outcome
    assert record.n_steps == 0
    assert Versions(base_hash=served_model().base_hash).current().name is None
    assert Runs(places().data / "runs").unfinished() is None
