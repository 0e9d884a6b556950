"""Other holes near what the user wrote: the rest of a line, a block, a syntax node, any characters, nothing at all."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from local_runtime.context.definitions import parser_of
from local_runtime.hole import Hole
from trainer.edits import EditEvent, Example, Kind
from trainer.examples.hunks import MIN_MIDDLE_CHARS, hunks
from trainer.examples.identity import draws, edit_key
from trainer.spans import MAX_MIDDLE_CHARS, MAX_RANDOM_CHARS, Shape, Span, span_in_line

if TYPE_CHECKING:
    from tree_sitter import Node

_SHAPE_OF = {Kind.LINE: Shape.LINE, Kind.BLOCK: Shape.BLOCK, Kind.EMPTY: Shape.EMPTY}
_MAX_PARSED_CHARS = 256_000


def shaped_examples(edit: EditEvent, kinds: Iterable[Kind], n: int, seed: object) -> list[Example]:
    """Up to `n` holes of each kind that begin in lines which the edit inserted, in the file as it was saved.

    Fewer where a draw gives nothing worth asking for. A draw depends on `seed`, its kind and number, and the edit's content.
    """
    lines = inserted_lines(edit)
    if not lines:
        return []
    key = edit_key(edit)
    found = (_shaped(edit, kind, lines, draws(key, kind.value, number, seed)) for kind in kinds for number in range(n))
    return list({(one.kind, one.hole.prefix, one.middle): one for one in found if one is not None}.values())


def _shaped(edit: EditEvent, kind: Kind, lines: list[tuple[int, int]], rng: random.Random) -> Example | None:
    text = edit.after
    begin, end = rng.choices(lines, [min(end - begin, 80) for begin, end in lines])[0]
    if kind is Kind.RANDOM:
        start = rng.randint(begin, end)
        span: Span | None = Span(Shape.RANDOM, start, min(start + rng.randint(1, MAX_RANDOM_CHARS), len(text)))
    elif kind is Kind.NODE:
        span = _node(text, edit.language, begin, end, rng)
    else:
        span = span_in_line(text, begin, end, _SHAPE_OF[kind], rng)
    if span is None:
        return None
    middle = text[span.start : span.end]
    if kind is not Kind.EMPTY and len(middle.strip()) < MIN_MIDDLE_CHARS:
        return None
    hole = Hole(edit.model_path, edit.language, text[: span.start], text[span.end :])
    return Example(hole, middle, edit.saved, kind=kind, edit_id=edit.id)


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


def _node(text: str, language: str, begin: int, end: int, rng: random.Random) -> Span | None:
    """A named syntax node that begins in the line, up to `MAX_MIDDLE_CHARS` long (AST-FIM, arXiv 2506.00204)."""
    parser = parser_of(language) if len(text) <= _MAX_PARSED_CHARS else None
    if parser is None:
        return None
    data = text.encode("utf-8", "replace")
    first, last = len(text[:begin].encode("utf-8", "replace")), len(text[:end].encode("utf-8", "replace"))
    ends = sorted(
        {(node.start_byte, node.end_byte) for node in _beginning_in(parser.parse(data).root_node, first, last)}
    )
    fitting = [(a, b) for a, b in ends if MIN_MIDDLE_CHARS <= b - a <= MAX_MIDDLE_CHARS]
    if not fitting:
        return None
    start, stop = rng.choice(fitting)
    offset = len(data[:start].decode("utf-8", "replace"))
    return Span(Shape.BLOCK, offset, offset + len(data[start:stop].decode("utf-8", "replace")))


def _beginning_in(node: Node, first: int, last: int) -> Iterator[Node]:
    """Named nodes below `node` that begin in the bytes `[first, last)`."""
    children = node.children
    at = bisect_right([child.end_byte for child in children], first)
    for child in children[at:]:
        if child.start_byte >= last:
            break
        if child.is_named and child.start_byte >= first:
            yield child
        yield from _beginning_in(child, first, last)
