"""One opted-in folder while it is watched: from events to settled edits. No threads, no clock of its own.

Events are gathered for a moment, so that an editor's way of saving (write, or write beside and rename, or rename away and write
anew) comes out as one save, and so that many files at once are seen to be many. What git wrote is remembered, not learnt from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
)

from local_runtime.context.ignore import RULE_FILES
from trainer.collect.folders import LearnedFolder
from trainer.collect.git_activity import GitActivity
from trainer.collect.git_history import MAX_COMMIT_FILES
from trainer.collect.hygiene import IGNORE_FILES_OF_LEARNING, git_dir_of, worktree_of
from trainer.collect.journal import Journal, JournalUnwritable
from trainer.collect.recorder import Recorder, Standing
from trainer.collect.refusals import Refusal
from trainer.collect.settling import Settling
from trainer.edits import EditEvent, Origin

_RULE_FILES = RULE_FILES | set(IGNORE_FILES_OF_LEARNING)
_MAX_GATHERINGS = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the watcher waits."""

    quiet_seconds: float = 60.0
    """A region that has not changed for so long is settled."""
    gather_seconds: float = 0.5
    """Events that follow each other within this belong together."""
    look_seconds: float = 5.0
    """How often it looks which folders are opted in, and whether learning is paused."""
    retry_seconds: float = 30.0
    """After the journal could not be written."""


class WatchedFolder:
    """Times that methods take are seconds of a steady clock; `wall` is Unix time."""

    def __init__(
        self,
        folder: LearnedFolder,
        journal: Journal,
        pace: Pace,
        on_edit: Callable[[EditEvent], None],
        *,
        is_ordered: bool = True,
    ) -> None:
        """`is_ordered`: whether events come in the order in which things happened."""
        self.folder = folder
        self.recorder = Recorder(folder, journal)
        self.rules_changed = False
        """An ignore file was saved: what is watched has to be gone through anew."""
        self._inode = _inode(folder.root)
        self._is_ordered = is_ordered
        self._pace = pace
        self._on_edit = on_edit
        self._git = GitActivity()
        self._settling = Settling(pace.quiet_seconds)
        self._gathered: dict[str, bool] = {}  # whether it is new
        self._gathered_at = (inf, -inf)
        self._new: set[str] = set()
        self._retry_at = -inf

    def git_dirs(self, folder: str) -> list[str]:
        """Git folders to heed for a folder: its own, and for the root that of the repository it is a part of."""
        worktree = Path(folder)
        if folder == self.folder.root:
            worktree = worktree_of(folder) or worktree
        git_dir = git_dir_of(worktree)
        if git_dir is None:
            return []
        self._git.watch(git_dir.as_posix(), worktree.as_posix())
        return [git_dir.as_posix()]

    def is_gone(self) -> bool:
        """Whether the folder was deleted or moved away, or is another one by now. Nobody is told when that happens."""
        return self._inode is None or _inode(self.folder.root) != self._inode

    def is_wanted(self, folder: str) -> bool:
        """Whether what is in a folder may be learnt from."""
        if folder == self.folder.root:
            return True
        return folder.startswith(self.folder.root + "/") and self.recorder.rules.folder_refused(folder) is None

    def handle(self, event: FileSystemEvent, now: float) -> None:
        """Take an event in; nothing is read yet."""
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if isinstance(event, DirMovedEvent) and self.is_wanted(target):
            self.recorder.rename(source, target)
        elif isinstance(event, DirDeletedEvent | DirMovedEvent):
            self._touch(source, now)
        elif event.is_directory:
            return
        elif isinstance(event, FileMovedEvent):
            self._moved(source, target, now)
        elif self._git.is_git_file(source):
            if isinstance(event, FileDeletedEvent):
                self._git.vanished(source)
            else:
                self._git.appeared(source, now)
        else:
            self._touch(source, now, is_new=isinstance(event, FileCreatedEvent))

    def next_due(self) -> float:
        """When `tick` has something to do."""
        first, last = self._gathered_at
        gathered = min(last + self._pace.gather_seconds, first + _MAX_GATHERINGS * self._pace.gather_seconds)
        return max(min(gathered if self._gathered else inf, self._settling.next_due()), self._retry_at)

    def tick(self, now: float, wall: float) -> bool:
        """Do what is due; whether anything was. Raises JournalUnwritable; nothing is lost then, and it is tried again later."""
        if self.next_due() > now:
            return False
        try:
            first, last = self._gathered_at
            if now >= min(last + self._pace.gather_seconds, first + _MAX_GATHERINGS * self._pace.gather_seconds):
                self._take_in(now)
            for path in self._settling.due(now):
                self._settle(path, now, wall)
        except JournalUnwritable:
            self._retry_at = now + self._pace.retry_seconds
            raise
        return True

    def flush(self, now: float, wall: float) -> None:
        """Record what waits as it stands: watching ends."""
        self._retry_at = -inf
        self._take_in(now)
        for path in self._settling.all():
            self._settle(path, inf, wall)

    def _moved(self, source: str, target: str, now: float) -> None:
        if self._git.is_git_file(source):
            self._git.vanished(source)
            return
        rules = self.recorder.rules
        if rules.refused_by_name(target) is None and self.recorder.is_known(source):
            self.recorder.rename(source, target)
            self._settling.rename(source, target)
        self._touch(source, now)
        self._touch(target, now)

    def _touch(self, path: str, now: float, is_new: bool = False) -> None:
        if os.path.basename(path) in _RULE_FILES:  # noqa: PTH119
            self.recorder.rules.forget_rules()
            self.rules_changed = True
        if self.recorder.rules.refused_by_name(path) and not self.recorder.is_known(path):
            return
        self._git.written(path, now)
        self._gathered.setdefault(path, is_new)
        first, _ = self._gathered_at
        self._gathered_at = (min(first, now), now)

    def _take_in(self, now: float) -> None:
        """Read what was gathered, and tell typing from what git or a program did."""
        standing = self._standing()
        by_git = {path for path in standing if self._git.wrote(path)}
        typed = {path: one.modified_ns / 1e9 for path, one in standing.items() if path not in by_git}
        if not self._is_ordered:
            by_git |= self._git.wrote_burst(typed)
        is_bulk = len(standing.keys() - by_git) > MAX_COMMIT_FILES
        for path, one in standing.items():
            is_new = self._gathered.pop(path) or path in self._new
            known = None if is_bulk or path in by_git else self.recorder.known(path, is_new)
            if known is None:
                self._settling.drop(path)
                self.recorder.see(one)
            else:
                self._settling.saved(path, known, one.text, now)
                if is_new:
                    self._new.add(path)
        self._gathered_at = (inf, -inf)
        if by_git:
            self.recorder.refuse(self.folder.root, Refusal.SWITCHED, len(by_git))
        if is_bulk:
            self.recorder.refuse(self.folder.root, Refusal.BULK, len(standing.keys() - by_git))

    def _standing(self) -> dict[str, Standing]:
        """What was gathered and differs from what was last seen."""
        standing: dict[str, Standing] = {}
        for path in list(self._gathered):
            found = self.recorder.read(path)
            if isinstance(found, Standing):
                self.recorder.follow_rename(found)
            if isinstance(found, Standing) and not self.recorder.touch(found):
                standing[path] = found
                continue
            self._git.wrote(path)
            self._settling.drop(path)  # gone, or as it was
            del self._gathered[path]
            if not os.path.lexists(path):
                self.recorder.remove([path])
            elif isinstance(found, Refusal) and self.recorder.rules.refused_by_name(path) is None:
                self.recorder.refuse(path, found)
        return standing

    def _settle(self, path: str, now: float, wall: float) -> None:
        standing = self.recorder.read(path)
        known = self.recorder.known(path, path in self._new) if isinstance(standing, Standing) else None
        if not isinstance(standing, Standing) or known is None:
            self._settling.drop(path)
            return
        settled = self._settling.settled(path, known, now)
        try:
            event = self.recorder.record(standing, known, settled, wall, Origin.SAVE) if settled != known else None
        except JournalUnwritable:
            self._settling.saved(path, known, standing.text, now)
            raise
        self._new.discard(path)
        if event:
            self._on_edit(event)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
