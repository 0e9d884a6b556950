"""Whether git, and not a person, writes the files of a working tree just now.

Git holds `index.lock` while it changes files, and what the kernel reports comes in order: a file that is written between the
lock's appearing and its going was written by git, be it by a checkout, a stash, a restore or one step of a rebase. Where events
do not come in order (FSEvents), several files at once together with a new index or HEAD say the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from math import inf

_LOCKS = frozenset({"index.lock", "HEAD.lock"})
_MARKS = ("index", "HEAD", "ORIG_HEAD")
_TRUSTED_SECONDS = 15.0
"""`git commit -a` keeps the lock while its message is written; what is saved then is the user's."""
BURST_FILES = 4
BURST_SECONDS = 2.0


@dataclass(slots=True)
class _Tree:
    locked_at: float = -inf
    locks: set[str] = field(default_factory=set)


class GitActivity:
    """What is known about the git folders of one opted-in folder."""

    def __init__(self) -> None:
        self._trees: dict[str, tuple[str, _Tree]] = {}
        self._written: set[str] = set()

    def watch(self, git_dir: str, worktree: str) -> None:
        """Heed a git folder (absolute) and the working tree that it belongs to."""
        self._trees.setdefault(git_dir, (worktree, _Tree()))

    def is_git_file(self, path: str) -> bool:
        """Whether a path lies directly in a git folder."""
        return os.path.dirname(path) in self._trees  # noqa: PTH120

    def appeared(self, path: str, now: float) -> None:
        """A file of a git folder came into being; `now`: seconds of a steady clock."""
        folder, name = os.path.split(path)
        if name in _LOCKS and folder in self._trees:
            tree = self._trees[folder][1]
            if not tree.locks:
                tree.locked_at = now
            tree.locks.add(name)

    def vanished(self, path: str) -> None:
        """A file of a git folder is gone, or has become another."""
        folder, name = os.path.split(path)
        if folder in self._trees:
            self._trees[folder][1].locks.discard(name)

    def written(self, path: str, now: float) -> None:
        """A file of a working tree was written, by whomever."""
        found = self._tree_of(path)
        if found and found[1].locks and now - found[1].locked_at <= _TRUSTED_SECONDS:
            self._written.add(path)

    def wrote(self, path: str) -> bool:
        """Whether git wrote a file since this was last asked."""
        was_written = path in self._written
        self._written.discard(path)
        return was_written

    def wrote_burst(self, modified: dict[str, float]) -> frozenset[str]:
        """Files that were written together with their repository's index or HEAD. `modified`: Unix times, seconds, by path."""
        marks = {git_dir: _modified(git_dir) for git_dir in self._trees}
        near: dict[str, list[str]] = {}
        for path, at in modified.items():
            found = self._tree_of(path)
            if found and any(abs(mark - at) <= BURST_SECONDS for mark in marks[found[0]]):
                near.setdefault(found[0], []).append(path)
        return frozenset(path for paths in near.values() if len(paths) >= BURST_FILES for path in paths)

    def _tree_of(self, path: str) -> tuple[str, _Tree] | None:
        """The innermost repository: one may hold others."""
        holding = [
            (len(worktree), git_dir, tree)
            for git_dir, (worktree, tree) in self._trees.items()
            if path.startswith(worktree + "/")
        ]
        return max(holding)[1:] if holding else None


def _modified(git_dir: str) -> list[float]:
    found = []
    for name in _MARKS:
        try:
            found.append(os.stat(os.path.join(git_dir, name)).st_mtime)  # noqa: PTH116, PTH118
        except OSError:
            continue
    return found
