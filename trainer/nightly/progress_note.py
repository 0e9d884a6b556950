"""How far a night is, on disk while it goes on: for `understudy learn status`, and for editors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from local_runtime.client.lock import own
from local_runtime.places import places
from local_runtime.records.night import Night
from trainer.nightly.events import Event

NOTE_SECONDS = 1.0


def noted(run: str, events: Iterator[Event]) -> Iterator[Event]:
    """The same events, and a note of each new stage and standstill, of steps and questions once a second. Gone in the end."""
    noted_at = 0.0
    night = Night(by=own(), run=run, stage="")
    try:
        for event in events:
            before, night = night, _after(event, night)
            has_turned = (before.stage, before.stands_still) != (night.stage, night.stands_still)
            if has_turned or time.monotonic() - noted_at >= NOTE_SECONDS:
                _note(night)
                noted_at = time.monotonic()
            yield event
    finally:
        with suppress(OSError):
            places().night.unlink(missing_ok=True)


def _after(event: Event, night: Night) -> Night:
    """The night after an event; what is not counted in it stays as far as it was, within a stage."""
    stage, stands_still = event.stage.value, event.text if event.paused else ""
    done, total = (night.done, night.total) if stage == night.stage else (0, 0)
    if event.done is not None and event.total:
        done, total = event.done, event.total
    # A process is known by when it began, and that changes with the clock: it is told anew each time.
    return Night(by=own(), run=night.run, stage=stage, done=done, total=total, stands_still=stands_still)


def _note(night: Night) -> None:
    """Replace the note, for a moment's look: it need not outlive a power cut, and a full disk is nobody's loss here."""
    partial = places().night.with_suffix(".partial")
    with suppress(OSError):
        partial.touch(mode=0o600)
        partial.write_bytes(msgspec.json.encode(night))
        partial.replace(places().night)
