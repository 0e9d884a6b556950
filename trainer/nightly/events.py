"""What a night says while it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trainer.nightly.runs import Record, Stage


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a night, in a sentence."""

    stage: Stage
    text: str
    done: int | None = None
    """Of `total`: optimiser steps while it is tuned, questions while it is judged."""
    total: int | None = None
    loss: float | None = None
    """Nats per token, of the step's batch."""
    paused: bool = False
    """Whether training stands still for the user."""
    reaction_seconds: float = 0.0
    """From the look that saw the user to the training process standing still."""
    record: Record | None = None
    """What became of the run; with the last event alone."""

    @property
    def step(self) -> int | None:
        """Optimiser steps done; None outside of tuning."""
        return self.done if self.stage is Stage.TUNE else None


N_TOLD = 20
"""Movements of one stage that are told where each one stays: through a pipe, in a log."""


def sparingly(events: Iterable[Event]) -> Iterator[Event]:
    """The same events, but of each stage's steps or questions only the first, the last, and one about every 5 %."""
    stage: Stage | None = None
    told = -1
    for event in events:
        if event.done is None or not event.total:
            yield event
            continue
        share = N_TOLD * event.done // event.total
        if event.stage is not stage or share > told:
            stage, told = event.stage, share
            yield event
