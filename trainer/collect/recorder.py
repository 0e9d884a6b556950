"""From what stands in a file to the journal: what the watcher, and the scan at its start, do with a file that changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local_runtime.context.ignore import FileLimits
from trainer.collect.cleaning import clean_text, cleaned
from trainer.collect.folders import LearnedFolder
from trainer.collect.git_log import Objects
from trainer.collect.hygiene import FileRules, worktree_of
from trainer.collect.journal import Journal
from trainer.collect.journal_files import SeenFile
from trainer.collect.refusals import Refusal, Refused
from trainer.edits import EditEvent, Origin


@dataclass(frozen=True, slots=True)
class Standing:
    """A file as it stands on disk."""

    path: str
    language: str
    text: str
    sha256: bytes
    modified_ns: int
    size_bytes: int


class Recorder:
    """Records what happens in one opted-in folder."""

    def __init__(self, folder: LearnedFolder, journal: Journal) -> None:
        self.root = folder.root
        self.rules = FileRules(folder.root)
        self._journal = journal

    def read(self, path: str) -> Standing | Refusal | None:
        """A file as it is now; why it is not learnt from; None when it is not there."""
        try:
            status = os.lstat(path)
            taken = self.rules.read(path)
        except OSError:
            return None
        if isinstance(taken, Refusal):
            return taken
        language, text = taken
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return Standing(path, language, text, sha256, status.st_mtime_ns, status.st_size)

    def known(self, path: str, is_new: bool = False) -> str | None:
        """The text before: as last seen, or nothing for a new file, or as git's index has it; None when nobody knows."""
        seen = self._journal.files.read(path)
        if seen:
            return seen.text
        return "" if is_new and not self._journal.files.was_forgotten(path) else self._indexed(path)

    def is_known(self, path: str) -> bool:
        """Whether a file was seen before."""
        return self._journal.files.is_known(path)

    def record(self, standing: Standing, known: str, settled: str, saved: float, origin: Origin) -> EditEvent | None:
        """An edit has settled: `known` became `settled`, which is all that stands in the file, or a part of it."""
        result = cleaned(known, settled, standing.path, standing.language)
        if isinstance(result, Refusal):
            self.refuse(standing.path, result)
            return None
        is_whole = settled == standing.text
        seen = (
            self._seen(standing, result.after)
            if is_whole
            else SeenFile(standing.path, self.root, result.after, b"", 0, -1)
        )
        event = None
        if result.changed:
            event = EditEvent(standing.path, self.root, standing.language, result.before, result.after, saved, origin)
        refused = [Refused(standing.path, self.root, reason, n, saved) for reason, n in result.refused.items()]
        return self._journal.settle(seen, event, refused)

    def see(self, standing: Standing) -> None:
        """Remember a file as it is, as no edit: nobody typed the difference, or nobody knows what was before."""
        text = clean_text(standing.text, standing.path)
        if isinstance(text, Refusal):
            self.refuse(standing.path, text)
        else:
            self._journal.settle(self._seen(standing, text))

    def touch(self, standing: Standing) -> bool:
        """Whether a file is what it was when last seen; its new time is then noted."""
        seen = self._journal.files.read(standing.path)
        if seen is None or seen.sha256 != standing.sha256:
            return False
        if (seen.modified_ns, seen.size_bytes) != (standing.modified_ns, standing.size_bytes):
            self._journal.settle(self._seen(standing, seen.text))
        return True

    def follow_rename(self, standing: Standing) -> None:
        """A file that nobody knows, with the contents of one that is gone, is that one."""
        if self.is_known(standing.path):
            return
        for old in self._journal.files.with_content(standing.sha256):
            if not os.path.lexists(old):
                self.rename(old, standing.path)
                return

    def remove(self, paths: Iterable[str]) -> None:
        """Files, or folders, are there no longer."""
        with self._journal.changing_files():
            for path in paths:
                self._journal.files.remove(path)

    def rename(self, old: str, new: str) -> None:
        """A file, or a folder, has another name."""
        with self._journal.changing_files():
            self._journal.files.rename(old, new)

    def refuse(self, path: str, reason: Refusal, n: int = 1) -> None:
        """Count what was left out."""
        self._journal.refuse([Refused(path, self.root, reason, n, time.time())])

    def _seen(self, standing: Standing, text: str) -> SeenFile:
        return SeenFile(standing.path, self.root, text, standing.sha256, standing.modified_ns, standing.size_bytes)

    def _indexed(self, path: str) -> str | None:
        """A file as git's index has it, without what is withheld."""
        top = worktree_of(os.path.dirname(path))  # noqa: PTH120
        if top is None:
            return None
        with Objects(top.as_posix(), FileLimits().max_bytes) as objects:
            source = objects.read(f":{Path(path).relative_to(top).as_posix()}")
        taken = source if isinstance(source, Refusal) else self.rules.taken(path, source)
        text = taken if isinstance(taken, Refusal) else clean_text(taken[1], path)
        return None if isinstance(text, Refusal) else text
