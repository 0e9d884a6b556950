"""Forgetting a file or a folder: deleted wherever it was kept, and the adapter made anew as if it had never been seen.

Deleting comes first and does not wait for training: every personal adapter may have learnt from it, so all of them go, and the
base serves until a new one, trained from the base on what is left, has passed the gate. Edits of other files that were left out
because they nearly repeated what is forgotten are learnt from then: that, too, is as if it had never been seen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.client.client import Client
from local_runtime.context.ignore import IgnoreRules
from local_runtime.context.search import WorkspaceIndex
from local_runtime.errors import AdapterInvalid, RuntimeFault
from local_runtime.places import places
from local_runtime.records import outcomes
from trainer.adapters.versions import CANDIDATES, Versions
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal, default_path
from trainer.nightly.rebuild_owed import owe_rebuild
from trainer.nightly.runs import Runs
from trainer.tuning.recipe import TRAINED

MAX_FOLDERS = 100_000
"""Folders that are looked through for search indexes of their own."""
ON_DELETING = (
    "Deleted means: files are removed and SQLite's pages overwritten with zeros. An SSD, a snapshot or a back-up may keep old "
    "blocks until it reuses them; full-disk encryption is what protects those. Adapters that you exported are yours to delete."
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted."""

    path: Path
    n_edits: int
    n_suggestions: int
    n_indexes: int
    n_adapters: int
    n_runs: int
    folder_off: bool
    """Whether it was an opted-in folder, which no longer is one."""
    daemon_ended: bool
    """Its cache may have held the text; editors start a new one."""

    def sentences(self) -> Iterator[str]:
        """What was done, for the user."""
        yield f"{self.path}: {self.n_edits} edits are gone from the journal."
        yield f"{self.n_suggestions} suggestions are gone from the statistics, and from what thresholds are learnt from."
        yield f"It is gone from {self.n_indexes} search indexes."
        yield f"{self.n_adapters} adapters and {self.n_runs} runs that may have learnt from it are deleted; the base model serves."
        if self.folder_off:
            yield "The folder is no longer learnt from: understudy learn on PATH would begin anew."
        else:
            yield "What is saved there from now on counts as new; a line in .trainignore keeps it out for good."
        if self.daemon_ended:
            yield "The daemon was ended, because its cache may have held the text; editors start it again."
        yield "Editors that are open may hold it among their recent places until they are restarted."
        yield ON_DELETING


def forget(path: Path) -> Forgotten:
    """Delete all that was kept of a file or folder, which need not exist any more. The caller holds the trainer lock.

    May be repeated after a kill: each part is deleted if it is there.
    """
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - a path that is gone cannot be resolved
    names = {path, path.resolve()}
    if any((places().adapters / CANDIDATES).glob("*")) or any(places().adapters.glob("personal-*")):
        owe_rebuild()
    # What serves goes first: whatever happens then, nobody is shown what it knows.
    n_adapters = _forget_adapters()
    daemon_ended = _end_daemon()
    n_runs = Runs(places().data / "runs").clear()
    shutil.rmtree(places().data / TRAINED, ignore_errors=True)  # what `understudy train` made by hand
    (places().data / "report.html").unlink(missing_ok=True)
    n_edits = n_suggestions = n_indexes = 0
    folder_off = False
    for name in sorted(names):
        n_suggestions += outcomes.forget(name, outcomes.database())
        n_indexes += sum(1 for _ in _forget_in_indexes(name))
        folder_off |= LearnedFolders().off(name)
        if default_path().exists():
            with closing(Journal()) as journal:
                n_edits += journal.forget(name)
    return Forgotten(path, n_edits, n_suggestions, n_indexes, n_adapters, n_runs, folder_off, daemon_ended)


def _forget_adapters() -> int:
    """Delete every adapter that was trained here, of any base model; those that were imported stay."""
    root = places().adapters
    personal = [path.name for path in root.glob("personal-*")]
    personal += [f"{CANDIDATES}/{path.name}" for path in (root / CANDIDATES).glob("*")]
    bases = {_base_of(root / name) for name in personal}
    for base_hash in bases:
        serving = Versions(base_hash=base_hash).serving
        chosen = serving.current().name or ""
        if any(name in chosen for name in personal):  # also as a part of a mix
            serving.select(None)
    if personal:
        Versions(base_hash=next(iter(bases))).delete(personal)
    return len(personal)


def _base_of(path: Path) -> str:
    try:
        return read_adapter(path).base_hash
    except (AdapterInvalid, OSError):
        return ""


def _forget_in_indexes(path: Path) -> Iterator[Path]:
    """Search indexes of the workspaces that the path lies in, and those of workspaces that lie in it."""
    folder = places().data / "index"
    if not folder.is_dir():
        return
    for root in path.parents:
        database = index_of(folder, root)
        if database.exists():
            _forget_in_index(database, root, path.relative_to(root).as_posix())
            yield database
    for root in _folders_below(path):
        database = index_of(folder, root)
        if database.exists():
            for suffix in ("", "-wal", "-shm"):
                database.with_name(database.name + suffix).unlink(missing_ok=True)
            yield database


def index_of(folder: Path, root: Path) -> Path:
    """The search index of a workspace, as `lsp_server.surroundings` names it."""
    return folder / f"{hashlib.sha256(str(root).encode()).hexdigest()[:24]}.sqlite"


def _forget_in_index(database: Path, root: Path, below: str) -> None:
    with closing(WorkspaceIndex(database, IgnoreRules(root))) as index:
        try:
            index.forget(below)
        except sqlite3.OperationalError as busy:
            raise RuntimeFault(
                f"{database} is in use by an editor ({busy})", "close the editor, then run it again"
            ) from None


def _folders_below(path: Path) -> Iterator[Path]:
    """The path and the folders in it, breadth first, without following links."""
    todo = [path]
    for _ in range(MAX_FOLDERS):
        if not todo:
            return
        here = todo.pop(0)
        yield here
        with suppress(OSError), os.scandir(here) as entries:
            todo += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _end_daemon() -> bool:
    with Client("forget", start=False) as client:
        return client.stop()
