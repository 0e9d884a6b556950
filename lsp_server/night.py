"""The night that goes on, as a status item shows it."""

from __future__ import annotations

from contextlib import suppress

from local_runtime.places import places

DOING = {
    "collect": "looking at what was saved",
    "tune": "training",
    "gate": "judging",
}
OTHERWISE = "coming to its end"


def night_shown() -> dict[str, object] | None:
    """How far it is, 0 to 1 or None, and a sentence; None if none goes on. Reads a file: not for the event loop."""
    with suppress(OSError):
        if not places().night.exists():
            return None
    from local_runtime.night import read_night  # noqa: PLC0415 - with psutil, and only while a night goes on

    night = read_night()
    if night is None:
        return None
    count = "" if night.share is None else f", {night.done} of {night.total}"
    pause = f"; {night.stands_still}" if night.stands_still else ""
    share = None if night.share is None else round(night.share, 2)
    return {"share": share, "sentence": f"A night goes on: {DOING.get(night.stage, OTHERWISE)}{count}{pause}."}
