"""A rebuild that is owed: something was forgotten, and no adapter has been made anew since. Outlives kills and nights that fail."""

from __future__ import annotations

from pathlib import Path

from local_runtime.durable_file import write_durably
from local_runtime.places import folder, places


def owe_rebuild() -> None:
    """From now on the next night rebuilds, as if what is forgotten had never been seen."""
    folder(_path().parent)
    write_durably(_path(), b"")


def is_rebuild_owed() -> bool:
    """Whether the next night has to rebuild."""
    return _path().exists()


def settle_rebuild() -> None:
    """It was done."""
    _path().unlink(missing_ok=True)


def _path() -> Path:
    return places().data / "rebuild.owed"
