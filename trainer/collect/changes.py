"""What differs between two texts, as runs of lines: pure, lossless, bounded in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_MAX_COMPARED_LINES = 4000


@dataclass(frozen=True, slots=True)
class Run:
    """Lines `[i1, i2)` of the text before stand where lines `[j1, j2)` of the text after do."""

    i1: int
    i2: int
    j1: int
    j2: int
    equal: bool


def lines_of(text: str) -> list[str]:
    """The lines of a text without their ends; joined by line feeds they are the text again."""
    return text.split("\n") if text else []


def runs(before: Sequence[str], after: Sequence[str]) -> Iterator[Run]:
    """All of both texts, in order, equal and changed runs in turn.

    What both begin and end with is taken off first. What is left is compared by `difflib`, whose time is quadratic, only when
    it is short; a longer one counts as one change.
    """
    most = min(len(before), len(after))
    head = next((n for n in range(most) if before[n] != after[n]), most)
    tail = next((n for n in range(most - head) if before[-1 - n] != after[-1 - n]), most - head)
    if head:
        yield Run(0, head, 0, head, True)
    i_end, j_end = len(before) - tail, len(after) - tail
    if head < i_end or head < j_end:
        if max(i_end, j_end) - head > _MAX_COMPARED_LINES:
            yield Run(head, i_end, head, j_end, False)
        else:
            matcher = SequenceMatcher(None, before[head:i_end], after[head:j_end], autojunk=False)
            for tag, i1, i2, j1, j2 in matcher.get_opcodes():
                yield Run(head + i1, head + i2, head + j1, head + j2, tag == "equal")
    if tail:
        yield Run(i_end, len(before), j_end, len(after), True)


def pieces(run: Run, after: Sequence[str]) -> Iterator[Run]:
    """A pure insertion, paragraph by paragraph (each with the blank lines below it); any other run as it is."""
    if run.equal or run.i1 < run.i2:
        yield run
        return
    start = run.j1
    for j in range(run.j1 + 1, run.j2):
        if after[j].strip() and not after[j - 1].strip() and any(line.strip() for line in after[start:j]):
            yield Run(run.i1, run.i1, start, j, False)
            start = j
    yield Run(run.i1, run.i1, start, run.j2, False)


def added_lines(before: str, after: str) -> list[str]:
    """The lines of `after` that `before` had not, in order."""
    old, new = lines_of(before), lines_of(after)
    return [line for run in runs(old, new) if not run.equal for line in new[run.j1 : run.j2]]
