"""Where to cut: holes shaped like what a user is about to type."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import StrEnum

MAX_BLOCK_LINES = 12
MAX_RANDOM_CHARS = 160
MAX_MIDDLE_CHARS = 800


class Shape(StrEnum):
    """A kind of completion."""

    LINE = "rest of line"
    BLOCK = "to the block's end"
    INSIDE = "inside a line"
    EMPTY = "nothing to add"
    RANDOM = "any characters"


SHAPES: dict[Shape, float] = {
    Shape.LINE: 0.46, Shape.BLOCK: 0.26, Shape.INSIDE: 0.13, Shape.EMPTY: 0.08, Shape.RANDOM: 0.07
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]` is the middle."""

    shape: Shape
    start: int
    end: int


def draw_span(text: str, rng: random.Random) -> Span:
    """A span of a random shape; its middle has at most `MAX_MIDDLE_CHARS`. Cuts fall between any two characters."""
    shape = rng.choices(list(SHAPES), list(SHAPES.values()))[0]
    if shape is Shape.RANDOM:
        start = rng.randrange(len(text))
        return Span(shape, start, min(start + rng.randint(1, MAX_RANDOM_CHARS), len(text)))
    return span_in_line(text, *_draw_line(text, rng), shape, rng)


def span_in_line(text: str, begin: int, end: int, shape: Shape, rng: random.Random) -> Span:
    """A span that starts in the line `text[begin:end]`, of any shape but `RANDOM`."""
    indent = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
    if shape is Shape.EMPTY:
        return Span(shape, end, end)
    if shape is Shape.INSIDE:
        start, stop = sorted((rng.randint(indent, end), rng.randint(indent, end)))
        return Span(shape, start, stop)
    start = _draw_cut(text, indent, end, rng)
    if shape is Shape.BLOCK:
        end = block_end(text, begin, rng.randint(2, MAX_BLOCK_LINES))
    return Span(shape, start, min(end, start + MAX_MIDDLE_CHARS) if shape is Shape.LINE else _bounded(text, start, end))


def block_end(text: str, line_start: int, max_lines: int) -> int:
    """Where the block that the line at `line_start` begins or stands in ends: before a lesser indentation or a blank line."""
    lines = text[line_start : line_start + 4096].split("\n")[:max_lines]
    indent = _indent(lines[0])
    n = len(lines[0])
    for line in lines[1:]:
        closes = _indent(line) == indent and line.strip()[:1] in ("}", ")", "]")
        if not line.strip() or _indent(line) < indent:
            break
        n += 1 + len(line)
        if closes:
            break
    return line_start + n


def _draw_line(text: str, rng: random.Random) -> tuple[int, int]:
    """Start and end of a random line that is not blank; by character, so long lines come more often."""
    for _ in range(20):
        at = rng.randrange(len(text))
        begin = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if text[begin:end].strip():
            break
    return begin, end


def _draw_cut(text: str, indent: int, end: int, rng: random.Random) -> int:
    """A cursor in a line: at its beginning, after a mark or a space, or anywhere."""
    way = rng.random()
    if way < 0.25:
        return indent
    if way < 0.65 and (marks := [indent + m.end() for m in re.finditer(r"[^\w\s]|\s(?=\S)", text[indent:end])]):
        return rng.choice(marks)
    return rng.randint(indent, end)


def _bounded(text: str, start: int, end: int) -> int:
    """`end`, or the last line end before the middle gets too long; never less than the first line's."""
    while end - start > MAX_MIDDLE_CHARS and (cut := text.rfind("\n", start, end)) > start:
        end = cut
    return min(end, start + MAX_MIDDLE_CHARS)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
