"""What happened while nobody watched: the folder is looked through once, and compared with how it was last seen.

Commits that the user made meanwhile are taken from git's history; files that git changed otherwise (a checkout, a pull) are
remembered as they are. What then still differs was typed, or copied: that is told apart by its amount.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from local_runtime.errors import BadRequest
from trainer.collect import git
from trainer.collect.folders import LearnedFolder
from trainer.collect.git_history import MAX_COMMIT_FILES, back_fill
from trainer.collect.journal import Journal
from trainer.collect.recorder import Recorder, Standing
from trainer.collect.refusals import Refusal
from trainer.edits import EditEvent, Origin

MAX_FILES = 20_000
MAX_BYTES = 128 << 20
"""What is beyond these is seen when it is first saved: git's index then tells what was before."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan found."""

    n_files: int
    n_edits: int
    n_removed: int
    is_first: bool


def scan(
    folder: LearnedFolder,
    recorder: Recorder,
    journal: Journal,
    *,
    now: float,
    recorded_from: float,
    stopped: Callable[[], bool] = lambda: False,
    on_edit: Callable[[EditEvent], None] = lambda event: None,
) -> Scanned:
    """Bring the journal up to date with a folder. `now`, `recorded_from`: Unix times, seconds (see `LearnedFolders`).

    Stopped in the middle, it begins anew the next time; nothing is recorded twice.
    """
    last = journal.files.scanned(folder.root)
    head = git.head(folder.root)
    stamps = {path: (modified_ns, size) for path, modified_ns, size in journal.files.stamps(folder.root)}
    found = dict(_bounded(recorder))
    changed = [path for path, status in found.items() if stamps.get(path) != (status.st_mtime_ns, status.st_size)]
    vanished = {path for path in stamps if path not in found and not os.path.lexists(path)}
    by_git: frozenset[str] = frozenset()
    n_edits = 0
    if last and last[1] and head and last[1] != head:
        by_git = git.changed_between(folder.root, last[1], head)
        n_edits += _commits_since(folder, last[1], journal)
    typed: list[Standing] = []
    n_bulk = 0
    for one in _differing(changed, recorder):
        if stopped():
            return Scanned(len(found), n_edits, 0, last is None)
        if last is None or one.path in by_git or min(one.modified_ns / 1e9, now) < recorded_from:
            recorder.see(one)
        elif n_bulk or len(typed) >= MAX_COMMIT_FILES:
            n_bulk += 1
            recorder.see(one)
        else:
            typed.append(one)
    for one in typed:
        saved = min(one.modified_ns / 1e9, now)
        known = recorder.known(one.path, is_new=last is not None and saved > last[0]) if not n_bulk else None
        if known is None:
            recorder.see(one)
        elif event := recorder.record(one, known, one.text, saved, Origin.SCAN):
            on_edit(event)
            n_edits += 1
    if n_bulk:
        recorder.refuse(folder.root, Refusal.BULK, n_bulk + len(typed))
    recorder.remove(vanished)
    with journal.changing_files():
        journal.files.write_scanned(folder.root, now, head)
    return Scanned(len(found), n_edits, len(vanished), last is None)


def _bounded(recorder: Recorder) -> list[tuple[str, os.stat_result]]:
    """The files that changed last come first, as far as the limits reach."""
    files = sorted(islice(recorder.rules.files(), 10 * MAX_FILES), key=lambda one: -one[1].st_mtime_ns)
    kept, n_bytes = [], 0
    for path, status in files[:MAX_FILES]:
        n_bytes += status.st_size
        if n_bytes > MAX_BYTES:
            break
        kept.append((path, status))
    return kept


def _commits_since(folder: LearnedFolder, old: str, journal: Journal) -> int:
    try:
        return journal.store(back_fill(folder.root, folder.opted_in, revisions=f"{old}..HEAD", n_processes=1))
    except BadRequest:  # git does not know who the user is
        return 0


def _differing(changed: list[str], recorder: Recorder) -> Iterator[Standing]:
    """Files whose text is not what was last seen, one at a time."""
    for path in changed:
        standing = recorder.read(path)
        if isinstance(standing, Refusal):
            recorder.refuse(path, standing)
        elif standing:
            recorder.follow_rename(standing)
            if not recorder.touch(standing):
                yield standing
