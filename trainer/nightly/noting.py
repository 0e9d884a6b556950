"""How far a night is, on disk while it goes on: for `understudy learn status`, and for editors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from local_runtime.daemon.lock import own
from local_runtime.night import Night
from local_runtime.places import folder, places
from trainer.durable_file import write_whole
from trainer.nightly.events import Event

NOTE_SECONDS = 1.0


def noted(run: str, events: Iterator[Event]) -> Iterator[Event]:
    """The same events, and a note of each new stage and standstill, of steps and questions once a second. Gone in the end."""
    path, noted_at = places().night, 0.0
    night = Night(by=own(), run=run, stage="")
    folder(path.parent)
    try:
        for event in events:
            before, night = night, _after(event, night)
            has_turned = (before.stage, before.stands_still) != (night.stage, night.stands_still)
            if has_turned or time.monotonic() - noted_at >= NOTE_SECONDS:
                with suppress(OSError):  # nobody's loss
                    write_whole(path, msgspec.json.encode(night))
                noted_at = time.monotonic()
            yield event
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _after(event: Event, night: Night) -> Night:
    """The night after an event; what is not counted in it stays as far as it was, within a stage."""
    stage, stands_still = event.stage.value, event.text if event.paused else ""
    done, total = (night.done, night.total) if stage == night.stage else (0, 0)
    if event.done is not None and event.total:
        done, total = event.done, event.total
    return Night(by=night.by, run=night.run, stage=stage, done=done, total=total, stands_still=stands_still)
