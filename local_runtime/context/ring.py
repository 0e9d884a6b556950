"""The places where the user was last."""

from __future__ import annotations

from collections.abc import Iterator

from local_runtime.context.chunks import Excerpt, alike, line_set

CAPACITY = 16
NEAR_DUPLICATE = 0.9


class RecentPlaces:
    """A ring of excerpts, newest first. One that nearly repeats a newer one is dropped."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._places: list[tuple[Excerpt, frozenset[str]]] = []

    def __iter__(self) -> Iterator[Excerpt]:
        return (excerpt for excerpt, _ in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, excerpt: Excerpt) -> None:
        """Remember a place; one without a single telling line is not worth it."""
        lines = line_set(excerpt.text)
        if not lines:
            return
        others = [place for place in self._places if alike(place[1], lines) <= NEAR_DUPLICATE]
        self._places = [(excerpt, lines), *others][: self._capacity]

    def forget(self, path: str) -> None:
        """Drop all places of a file."""
        self._places = [place for place in self._places if place[0].path != path]


def around(path: str, text: str, line: int, n_lines: int = 32) -> Excerpt:
    """The lines around a line (counted from 0) that the user visits."""
    lines = text.splitlines(keepends=True)
    first = max(0, min(line, len(lines)) - n_lines // 2)
    return Excerpt(path, "".join(lines[first : first + n_lines]), first)
