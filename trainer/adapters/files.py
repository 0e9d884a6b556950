"""Adapter folders on disk: copied, marked and moved so that a crash at any moment leaves whole folders alone."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec

from local_runtime.adapters.peft_folder import CONFIG, MANIFEST, WEIGHTS
from local_runtime.durable_file import sync, write_whole
from local_runtime.errors import AdapterInvalid
from local_runtime.places import folder

UNFINISHED = ".unfinished-"
"""Begins with a dot: the daemon never offers such a folder."""


class Replaced(msgspec.Struct, frozen=True):
    """What served before."""

    adapter: str
    strength: float = 1.0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said of an adapter and what became of it: the key `gate` of its `manifest.json`."""

    promoted: bool
    judged_at: float
    """Unix time, seconds."""
    reasons: list[str] = []
    strength: float = 1.0
    metrics: dict[str, float] = {}
    number: int = 0
    """Of the version; 0 for one that was not promoted."""
    candidate: str = ""
    """Its name while it was one."""
    replaces: Replaced | None = None
    """None: the base served before."""
    rolled_back: str = ""
    """Why it serves no longer, if it was rolled back."""


class Marks(msgspec.Struct, frozen=True):
    """What versions need of a `manifest.json`."""

    base_hash: str = ""
    gate: Record | None = None


def read_record(path: Path) -> Record | None:
    """The gate's record of an adapter folder; None if it was never judged. Raises AdapterInvalid."""
    return read_marks(path).gate


def read_marks(path: Path) -> Marks:
    """Base and record of an adapter folder, without its weights. Raises AdapterInvalid."""
    try:
        return msgspec.json.decode((path / MANIFEST).read_bytes(), type=Marks)
    except FileNotFoundError:
        return Marks()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise AdapterInvalid(f"{path / MANIFEST}: {problem}") from None


def write_record(path: Path, record: Record) -> None:
    """Replace the record at once and for good; the rest of the manifest stays."""
    note_record(path, record)
    sync(path)


def note_record(path: Path, record: Record) -> None:
    """Replace the record at once; a power cut may bring the old one back."""
    change_manifest(path, {"gate": msgspec.to_builtins(record)})


def change_manifest(path: Path, changes: dict[str, object]) -> None:
    """Set keys of `manifest.json`, at once. The adapter's id depends on `base_hash` and on no other of them."""
    file = path / MANIFEST
    known = msgspec.json.decode(file.read_bytes(), type=dict[str, object]) if file.exists() else {}
    write_whole(file, msgspec.json.format(msgspec.json.encode(known | changes), indent=1))


def copy_adapter(source: Path, target: Path, changes: dict[str, object] | None = None) -> None:
    """Copy the files of an adapter into a new folder `target`, which is there whole or not at all."""
    building = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder(target.parent)))
    try:
        for name in (CONFIG, WEIGHTS, MANIFEST):
            if (source / name).is_file():
                shutil.copyfile(source / name, building / name)
                sync(building / name)
        if changes:
            change_manifest(building, changes)
        sync(building)
        move(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Rename a folder for good."""
    source.rename(target)
    sync(target.parent)


def remove(path: Path) -> None:
    """Delete a folder: out of sight first, so that nobody sees half of it."""
    doomed = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
    path.rename(doomed / path.name)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(root: Path) -> None:
    """Delete what a killed process left behind. Only under the lock of those who write."""
    for left in root.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
