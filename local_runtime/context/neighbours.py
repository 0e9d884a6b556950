"""The other open files: which of their parts speak of the same names as the lines at the cursor."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable

from local_runtime.context.chunks import Excerpt, alike, excerpts, identifiers

MAX_FILES = 20
MAX_EXCERPTS = 60
MAX_CHARS = 80_000
MIN_SIMILARITY = 0.05


class OpenFiles:
    """Open files, the one touched last first. Their parts are worked out when first asked for, not at each keystroke."""

    def __init__(self, max_files: int = MAX_FILES) -> None:
        self._max_files = max_files
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._parts: dict[str, list[tuple[Excerpt, frozenset[str]]]] = {}

    def put(self, path: str, text: str) -> None:
        """A file was opened or changed."""
        if self._texts.get(path) != text:
            self._parts.pop(path, None)
        self._texts[path] = text
        self._texts.move_to_end(path)
        if len(self._texts) > self._max_files:
            self.drop(next(iter(self._texts)))

    def drop(self, path: str) -> None:
        """A file was closed, or is to be forgotten."""
        self._texts.pop(path, None)
        self._parts.pop(path, None)

    def similar(
        self, names: frozenset[str], path: str, n: int, late: Callable[[], bool] = lambda: False
    ) -> list[Excerpt]:
        """The `n` parts of files other than `path` that share most names (windowed Jaccard), best first.

        Files that were not cut yet are left out once it is `late`; the next question goes on with them.
        """
        scored = [
            (score, -order, excerpt)
            for order, other in enumerate(reversed(self._texts))
            if other != path and (other in self._parts or not late())
            for excerpt, theirs in self._parts_of(other)
            if (score := alike(names, theirs)) >= MIN_SIMILARITY
        ]
        return [excerpt for _, _, excerpt in heapq.nlargest(n, scored, key=lambda found: found[:2])]

    def _parts_of(self, path: str) -> list[tuple[Excerpt, frozenset[str]]]:
        if path not in self._parts:
            cut = excerpts(path, self._texts[path][:MAX_CHARS], MAX_EXCERPTS)
            self._parts[path] = [(excerpt, identifiers(excerpt.text)) for excerpt in cut]
        return self._parts[path]
