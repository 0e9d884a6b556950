"""A night that goes on from an adapter learnt on kin says so, before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gate_worlds import write_adapter

from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import folder, places
from trainer.nightly.events import Event
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Reason, Record, Runs, Stage
from trainer.nightly.user_activity import UserActivity


@pytest.fixture(autouse=True)
def home(home_with_model: Path) -> Path:
    return home_with_model


class Before(Night):
    """A night whose training is told of and not begun."""

    def _in_child(self, run: object, stage: Stage) -> Iterator[Event]:
        yield Event(stage, "trained")


@pytest.mark.parametrize(("quantization", "n_told"), [("q4f16_1", 1), ("q8f16_g32", 0), ("", 0)])
def test_going_on_from_kin_is_told(tiny_model: ModelFolder, quantization: str, n_told: int) -> None:
    write_adapter(folder(places().adapters) / "personal-1", tiny_model.base_hash, quantization=quantization)
    run = Runs(places().data / "runs").begin(
        Record(id="", reason=Reason.WARM, model="tiny", base_hash=tiny_model.base_hash, began=1e9, parent="personal-1")
    )
    night = Before(LearnOptions(), lambda: UserActivity(None))
    told = [event.text for event in night._tune(run)]
    assert told[0] == "training from personal-1"
    assert told[-1] == "trained"
    assert sum("learnt on the q4f16_1 weights" in text for text in told) == n_told
