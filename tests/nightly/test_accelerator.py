"""Where a run trains, and what that means while its user is there: on an accelerator the memory is given back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from night_worlds import AWAY, NOUNS, VERBS, adapter_bytes, finished, learn_from

from local_runtime.errors import OutOfMemory
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions
from trainer.edits import Example
from trainer.examples.store import write_examples
from trainer.nightly import learning_process, training_process
from trainer.nightly import night as nights
from trainer.nightly.events import Event
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Reason, Record, Runs
from trainer.nightly.training_process import Placed, Word
from trainer.nightly.user_activity import UserActivity
from trainer.tuning import memory
from trainer.tuning import placement as placements
from trainer.tuning.base import Placement
from trainer.tuning.placement import holds_memory, place, place_once
from trainer.tuning.recipe import preset

N_STEPS = 10
ACCELERATED = """
import sys
from trainer.tuning import placement

placement.holds_memory = lambda placement: True
from trainer.nightly import learning_process

learning_process.main()
"""
"""The training process, told that this CPU is an accelerator."""


@pytest.mark.parametrize(("device", "held"), [("cpu", False), ("cuda", True), ("mps", True)])
def test_only_an_accelerators_memory_is_kept_from_the_user(device: str, held: bool) -> None:
    assert holds_memory(Placement(device, torch.float32)) is held


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_decides_between_floats_and_four_bits(world: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Plain where it fits; then activations computed twice; then QLoRA. On CUDA the moments have 8 bits."""
    model, recipe = ModelFolder.open(registry.find("tiny")), preset("first-night")
    monkeypatch.setattr(placements, "_dtype", lambda device: torch.float32)
    monkeypatch.setattr(memory, "CHUNK_TOKENS", dict.fromkeys(("cpu", "cuda"), 256))

    def chosen(free: int) -> Placement:
        monkeypatch.setattr(placements, "free_bytes", lambda device: free)
        return place(model, recipe, device)

    plain = chosen(1 << 40)
    need = sum(memory.estimate_bytes(model, recipe, plain).values()) / placements.FREE_SHARE
    assert plain == Placement(device, torch.float32, nf4=False, eight_bit_moments=device == "cuda", checkpointing=False)
    assert chosen(int(need * 0.999)) == replace(plain, checkpointing=True)
    assert chosen(0) == replace(plain, nf4=True, checkpointing=True)
    assert place(model, preset("starcoder-qlora"), device).nf4


def test_a_run_stays_where_it_began(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less memory is free when it goes on: another precision would be another training. Another device is another training."""
    model, recipe, file = ModelFolder.open(registry.find("tiny")), preset("first-night"), tmp_path / "placement.json"
    began = place_once(file, model, recipe)
    assert not began.checkpointing
    monkeypatch.setattr(placements, "free_bytes", lambda device: 0)
    assert place_once(file, model, recipe) == began
    assert place_once(tmp_path / "other.json", model, recipe) != began
    monkeypatch.setattr(placements, "best_device", lambda: "mps")
    assert place_once(file, model, recipe).device == "mps"


def test_an_accelerator_that_is_full_is_said(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainer.tuning.tune.tune", full)
    record = Record(id="r", reason=Reason.FIRST, model="tiny", base_hash="b", began=1e9, preset="first-night")
    write_examples(tmp_path / learning_process.TRAIN, list[Example]())
    said: list[Word] = []
    with pytest.raises(OutOfMemory, match="the memory of cpu was not enough"):
        learning_process.tune_examples(tmp_path, record, said.append)
    assert said == [Placed("cpu", holds_memory=False)]


def a_night(come_back: bool) -> tuple[bytes, list[int], list[Event]]:
    """The candidate's bytes, its steps as they were told, and all events; the user may come back after two steps."""
    steps: list[int] = []
    n_looks = [0]

    def look() -> UserActivity:
        n_looks[0] += bool(come_back and len(steps) >= 2)
        return UserActivity(idle_seconds=0.0) if 1 <= n_looks[0] <= 12 else AWAY

    night = Night(LearnOptions(threads=1), look, asked=Reason.ASKED, max_steps=N_STEPS)
    seen = []
    for event in night.events():
        seen.append(event)
        steps += [event.step] if event.step else []
    record, _ = finished(iter(seen))
    assert record.candidate is not None
    found = adapter_bytes(record.candidate)
    Versions(base_hash=served_model().base_hash).delete([record.candidate])
    Runs(nights.places().data / "runs").clear()
    return found, steps, seen


@pytest.mark.e2e
def test_an_accelerators_memory_is_given_back_and_the_run_goes_on_bit_equally(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_from(tmp_path / "shop", NOUNS[:5], VERBS[:5])
    expected, _, _ = a_night(come_back=False)
    script = tmp_path / "accelerated.py"
    script.write_text(ACCELERATED)
    command: Callable[..., list[str]] = lambda module, *arguments: [sys.executable, str(script), *arguments]  # noqa: E731
    monkeypatch.setattr(nights, "python", command)
    monkeypatch.setattr(training_process, "GIVE_BACK_SECONDS", 0.05)
    monkeypatch.setattr(training_process, "POLL_SECONDS", 0.02)
    found, steps, events = a_night(come_back=True)
    assert steps.count(1) == 2  # a second child begins where the first had last saved
    assert [event.text for event in events if event.paused] == ["it stands still: you are typing"]
    assert [event.text for event in events].count("it goes on") == 1
    assert found == expected
