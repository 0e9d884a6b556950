"""Other holes near what the user wrote: the rest of a line, a block, a syntax node, any characters, nothing at all."""

from __future__ import annotations

import random
from bisect import bisect_left
from itertools import accumulate

from local_runtime.context.definitions import parser_of
from local_runtime.prompts.hole import Hole
from trainer.edits import EditEvent, Example, Kind
from trainer.examples.hunks import MIN_MIDDLE_CHARS, hunks
from trainer.examples.identity import draws, edit_key
from trainer.spans import MAX_MIDDLE_CHARS, MAX_RANDOM_CHARS, Shape, Span, span_in_line

_SHAPE_OF = {Kind.LINE: Shape.LINE, Kind.BLOCK: Shape.BLOCK, Kind.EMPTY: Shape.EMPTY}
_MAX_PARSED_CHARS = 256_000


class Shapes:
    """The holes that begin in lines which one edit inserted, in the file as it was saved."""

    def __init__(self, edit: EditEvent) -> None:
        self._edit = edit
        self._key = edit_key(edit)
        self._lines: list[tuple[int, int]] | None = None
        self._nodes: list[tuple[int, int]] | None = None

    def draw(self, kind: Kind, number: int, seed: object) -> Example | None:
        """Hole `number` of a kind; None where the draw gives nothing worth asking for.

        It depends on `seed`, the kind, the number and the edit's content.
        """
        edit, text = self._edit, self._edit.after
        if self._lines is None:
            self._lines = inserted_lines(edit)
        if not self._lines:
            return None
        rng = draws(self._key, kind.value, number, seed)
        begin, end = rng.choices(self._lines, [min(end - begin, 80) for begin, end in self._lines])[0]
        if kind is Kind.RANDOM:
            start = rng.randint(begin, end)
            span: Span | None = Span(Shape.RANDOM, start, min(start + rng.randint(1, MAX_RANDOM_CHARS), len(text)))
        elif kind is Kind.NODE:
            span = self._node(begin, end, rng)
        else:
            span = span_in_line(text, begin, end, _SHAPE_OF[kind], rng)
        if span is None:
            return None
        middle = text[span.start : span.end]
        if kind is not Kind.EMPTY and len(middle.strip()) < MIN_MIDDLE_CHARS:
            return None
        hole = Hole(edit.model_path, edit.language, text[: span.start], text[span.end :])
        return Example(hole, middle, edit.saved, kind=kind, edit_id=edit.id)

    def _node(self, begin: int, end: int, rng: random.Random) -> Span | None:
        """A named syntax node that begins in the line (AST-FIM, arXiv 2506.00204)."""
        if self._nodes is None:
            self._nodes = syntax_nodes(self._edit.after, self._edit.language)
        here = self._nodes[bisect_left(self._nodes, (begin, 0)) : bisect_left(self._nodes, (end, 0))]
        return Span(Shape.BLOCK, *rng.choice(here)) if here else None


def inserted_lines(edit: EditEvent) -> list[tuple[int, int]]:
    """Start and end in `edit.after` of every line that is not blank and that the edit inserted or changed."""
    found: dict[int, int] = {}
    for change in hunks(edit.before, edit.after):
        if not change.inserted.strip():
            continue
        at, last = len(change.prefix), len(change.prefix) + len(change.inserted)
        while at < last:
            begin = edit.after.rfind("\n", 0, at) + 1
            end = edit.after.find("\n", at)
            end = len(edit.after) if end < 0 else end
            if edit.after[begin:end].strip():
                found[begin] = end
            at = end + 1
    return sorted(found.items())


def syntax_nodes(text: str, language: str) -> list[tuple[int, int]]:
    """Start and end of every named node of a fit length, sorted; none for a language without a grammar, or a huge file."""
    parser = parser_of(language) if len(text) <= _MAX_PARSED_CHARS else None
    if parser is None:
        return []
    data = text.encode("utf-8", "replace")
    at_byte = accumulate(map(_width, text), initial=0) if len(data) != len(text) else range(len(text) + 1)
    place = {offset: n for n, offset in enumerate(at_byte)}
    left, found = [parser.parse(data).root_node], set()
    while left:
        node = left.pop()
        left += node.children
        start, end = place.get(node.start_byte), place.get(node.end_byte)
        if node.is_named and start is not None and end is not None:
            found.add((start, end))
    return sorted((a, b) for a, b in found if MIN_MIDDLE_CHARS <= b - a <= MAX_MIDDLE_CHARS)


def _width(character: str) -> int:
    """Bytes of a character in UTF-8."""
    return len(character.encode("utf-8", "replace"))
