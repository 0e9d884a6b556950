"""The night that goes on, as a status item shows it."""

from __future__ import annotations

from local_runtime.places import places

DOING = {
    "collect": "looking at what was saved",
    "tune": "training",
    "stage": "putting the adapter in its place",
    "gate": "judging",
    "promote": "choosing what serves",
}


def night_shown() -> dict[str, object] | None:
    """A sentence and, where it can be told, the share that is done of its stage, 0 to 1; None if none goes on.

    Reads a file: not for the event loop. Raises OSError if it may not even look.
    """
    if not places().night.exists():
        return None
    from local_runtime.records.night import read_night  # noqa: PLC0415 - with psutil, and only while a night goes on

    night = read_night()
    if night is None:
        return None
    count = "" if night.share is None else f", {night.done} of {night.total}"
    pause = f"; {night.stands_still}" if night.stands_still else ""
    share = {} if night.share is None else {"share": round(night.share, 2)}
    return {"sentence": f"A night goes on: {DOING.get(night.stage, night.stage)}{count}{pause}.", **share}
