"""Pieces of files: how they are cut, and how alike two of them are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from local_runtime.prompts.hole import Chunk

EXCERPT_LINES = 24
_MIN_EXCERPT_LINES = 8
_WORD = re.compile(r"[^\W\d]\w{2,63}")
_COMMON = """
and any as async await bool boolean break case catch char class const continue def default del dict do double elif else enum
except export extends false final finally float for from func function get global if impl implements import include int
interface is lambda len let list long match mod mut namespace new nil none not null number object of or override package
pass print private protected pub public raise range readonly ref return self set short static str string struct super
switch this throw throws true try tuple type typeof undefined union unsigned use using value var void while with yield
"""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A run of whole lines of a file."""

    path: str
    text: str
    first_line: int = 0
    """Counted from 0. For the eye: what an excerpt covers is decided by its text."""

    @property
    def chunk(self) -> Chunk:
        """What the model is shown of it."""
        return Chunk(self.path, self.text)


def identifiers(text: str) -> frozenset[str]:
    """The names that a text speaks of: words of three letters and more that are not common to all programs."""
    common = _common()
    return frozenset(word for word in _WORD.findall(text) if word.lower() not in common)


@cache
def _common() -> frozenset[str]:
    return frozenset(_COMMON.split())


def alike(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1; 0 for two empty ones."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0


def line_set(text: str) -> frozenset[str]:
    """Lines that say something, without indentation: two texts with the same ones repeat each other."""
    return frozenset(stripped for line in text.split("\n") if len(stripped := line.strip()) > 2)


def excerpts(path: str, text: str, max_excerpts: int) -> Iterator[Excerpt]:
    """Cut a file into runs of at most `EXCERPT_LINES` lines, where possible before a line that begins something new."""
    return islice(_cut(path, text), max_excerpts)


def _cut(path: str, text: str) -> Iterator[Excerpt]:
    lines = text.splitlines(keepends=True)
    start = 0
    while start < len(lines):
        end = min(start + EXCERPT_LINES, len(lines))
        if end < len(lines):
            end = next((at for at in range(end, start + _MIN_EXCERPT_LINES, -1) if _begins(lines, at)), end)
        piece = "".join(lines[start:end])
        if piece.strip():
            yield Excerpt(path, piece, start)
        start = end


def _begins(lines: list[str], at: int) -> bool:
    """Whether line `at` is unindented after a blank line."""
    return not lines[at - 1].strip() and lines[at][:1].strip() != ""
