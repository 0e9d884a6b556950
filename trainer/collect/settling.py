"""When an edit is finished: its region has not changed for a while. Pure; the clock is an argument.

People save in the middle of a thought. What is learnt should be what they left standing, so each changed region of a file waits
until it has been quiet; a region that is still being worked on keeps none of the others waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from trainer.collect.changes import lines_of, runs


@dataclass(slots=True)
class _Moving:
    lines: list[str]
    """Of the file as it was last saved."""
    touched: list[float]
    """When each line last changed, seconds; -inf for one that never did. One more than lines: the end of the file."""


class Settling:
    """Files with changes that are not settled yet."""

    def __init__(self, quiet_seconds: float) -> None:
        self.quiet_seconds = quiet_seconds
        self._files: dict[str, _Moving] = {}

    def saved(self, path: str, known: str, text: str, now: float) -> None:
        """A file was saved. `known`: its text when its last edit settled; `now`: seconds of a steady clock."""
        lines = lines_of(text)
        before = self._files.get(path)
        if before is None:
            was = lines_of(known)
            before = _Moving(was, [-inf] * (len(was) + 1))
        touched = [-inf] * (len(lines) + 1)
        for run in runs(before.lines, lines):
            if run.equal:
                for i, j in zip(range(run.i1, run.i2), range(run.j1, run.j2), strict=True):
                    touched[j] = max(touched[j], before.touched[i])
            else:  # with nothing in its place, the line below a deletion remembers it
                for j in range(run.j1, max(run.j2, run.j1 + 1)):
                    touched[j] = now
        touched[-1] = max(touched[-1], before.touched[-1])
        self._files[path] = _Moving(lines, touched)

    def settled(self, path: str, known: str, now: float) -> str:
        """`known` with the changes that are settled. When all are, the file is forgotten here."""
        moving = self._files[path]
        if max(moving.touched) <= now - self.quiet_seconds:
            del self._files[path]
            return "\n".join(moving.lines)
        was, lines = lines_of(known), []
        for run in runs(was, moving.lines):
            still = max(moving.touched[run.j1 : max(run.j2, run.j1 + 1)]) > now - self.quiet_seconds
            lines += was[run.i1 : run.i2] if still or run.equal else moving.lines[run.j1 : run.j2]
        return "\n".join(lines)

    def due(self, now: float) -> list[str]:
        """Files of which something may have settled."""
        return [path for path in self._files if self._next(path) <= now]

    def next_due(self) -> float:
        """When something settles next; inf when nothing waits."""
        return min((self._next(path) for path in self._files), default=inf)

    def drop(self, path: str) -> None:
        """A file is gone, or git wrote it."""
        self._files.pop(path, None)

    def rename(self, old: str, new: str) -> None:
        """A file has another name."""
        if old in self._files:
            self._files[new] = self._files.pop(old)

    def all(self) -> list[str]:
        """All files that wait."""
        return list(self._files)

    def _next(self, path: str) -> float:
        return min((at for at in self._files[path].touched if at > -inf), default=-inf) + self.quiet_seconds
