"""Hunks: what was really inserted, into the file as it stood."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop_history import days, edit

from trainer.edits import EditEvent, Example, Kind
from trainer.examples.hunks import hunk_examples, hunks, pieces
from trainer.examples.shapes import Shapes, inserted_lines
from trainer.spans import MAX_MIDDLE_CHARS

LINES = st.lists(st.sampled_from(["a = 1", "b = f(a)", "", "    return b", "x", "}", "print(a, b)"]), max_size=14)
TEXTS = LINES.map("\n".join) | LINES.map(lambda lines: "".join(line + "\n" for line in lines))


def only(event: EditEvent) -> Example:
    (example,) = hunk_examples(event)
    return example


def whole_line(example: Example) -> str:
    """The middle with what stands before it in its line."""
    return example.hole.prefix.rpartition("\n")[2] + example.middle


def test_an_inserted_line_is_asked_for_where_it_was_typed() -> None:
    example = only(edit("a.py", "one = 1\nthree = 3\n", "one = 1\ntwo = 2\nthree = 3\n"))
    assert whole_line(example) == "two = 2"
    assert example.hole.prefix.startswith("one = 1\n")
    assert example.hole.suffix == "\nthree = 3\n"
    assert example.hole.path == "a.py"


def test_a_change_inside_a_line_is_narrowed_to_its_words() -> None:
    example = only(edit("a.py", "total = add(price)\n", "total = add(price, discount)\n"))
    assert whole_line(example).endswith(", discount")
    assert example.hole.suffix == ")\n"
    assert "total = add(price" in example.hole.prefix + example.middle
    renamed = only(edit("a.py", "value = compute_price()\n", "value = compute_prize()\n"))
    assert whole_line(renamed).endswith("compute_prize")
    assert renamed.hole.suffix == "()\n"


def test_earlier_changes_are_there_and_later_ones_are_not() -> None:
    """The second hole knows the first insertion; the first does not know the second."""
    before = "".join(f"line{n} = {n}\n" for n in range(12))
    after = before.replace("line2 = 2\n", "line2 = 2\nfirst_new = 1\n").replace(
        "line9 = 9\n", "line9 = 9\nsecond_new = 2\n"
    )
    first, second = hunk_examples(edit("a.py", before, after))
    assert "first_new" in second.hole.prefix
    assert "second_new" not in first.hole.suffix
    assert "line9" in first.hole.suffix


def test_what_a_change_replaced_is_gone() -> None:
    example = only(edit("a.py", "x = old_way(1, 2, 3)\ny = 2\n", "x = another()\ny = 2\n"))
    assert "old_way" not in example.hole.prefix + example.hole.suffix


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1\nb = 2\n", "a = 1\n"),
        ("if a:\n  b()\n", "if a:\n    b()\n"),
        ("def first():\n    work()\n\n\nlast = 1\n", "last = 1\n\n\ndef first():\n    work()\n"),
        ("same\n", "same\n"),
        ("a = 1\n", "a = 1\n\n\n"),
    ],
    ids=["deletion", "formatting", "move", "nothing", "blank lines"],
)
def test_no_targets(before: str, after: str) -> None:
    assert hunk_examples(edit("a.py", before, after)) == []


def test_a_long_insertion_comes_in_pieces_as_it_would_be_typed() -> None:
    """Every piece knows those above it, none knows those below, and together they are the insertion."""
    inserted = "\n".join(f"def f{n}(a, b):\n    c = a + b * {n}\n    return c * {n}\n\n" for n in range(9))
    examples = hunk_examples(edit("new.py", "", inserted))
    assert len(examples) >= 9
    for one, after in pairwise(examples):
        assert after.hole.prefix.startswith((one.hole.prefix + one.middle).rstrip())
        assert one.hole.suffix == "\n"
    assert all(len(one.middle) <= MAX_MIDDLE_CHARS for one in examples)
    assert all(f"f{n}" in "".join(whole_line(one) for one in examples) for n in range(9))


def test_views_are_different_cursors_in_the_same_piece() -> None:
    event = edit("a.py", "", "result = compute_everything(first, second, third)\n")
    views = hunk_examples(event, views=6)
    assert len({one.middle for one in views}) == len(views) > 2
    assert all(one.hole.prefix + one.middle == views[0].hole.prefix + views[0].middle for one in views)


def test_neither_row_nor_root_changes_a_cursor() -> None:
    """What depends on a row number would change when another edit is forgotten."""
    for event in days():
        moved = EditEvent(event.path.replace("/home", "/other"), event.root.replace("/home", "/other"), event.language,
                          event.before, event.after, event.saved, id=event.id + 77)  # fmt: skip
        assert [(e.hole, e.middle) for e in hunk_examples(moved)] == [(e.hole, e.middle) for e in hunk_examples(event)]


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_every_hole_joins_to_a_state_between_before_and_after(before: str, after: str) -> None:
    """Prefix from the new file, suffix ending like the old one, and the middle somewhere in the new file."""
    for example in hunk_examples(edit("a.py", before, after), views=2):
        assert after.startswith(example.hole.prefix + example.middle)
        assert before.endswith(example.hole.suffix.lstrip("\n")[-1:])
        assert len(example.middle.strip()) >= 3
    rebuilt = before
    for change in hunks(before, after):
        assert change.prefix + change.removed + change.suffix == rebuilt
        rebuilt = change.prefix + change.inserted + change.suffix
    assert rebuilt == after


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_pieces_lose_nothing_but_blank_lines(text: str) -> None:
    assert "".join("".join(text[a:b].split()) for a, b in pieces(text)) == "".join(text.split())
    assert all(text[a:b].strip() for a, b in pieces(text))


def drawn(event: EditEvent, kind: Kind, n: int, seed: int) -> list[Example]:
    shapes = Shapes(event)
    return [one for number in range(n) if (one := shapes.draw(kind, number, seed)) is not None]


def test_other_shapes_begin_in_what_was_inserted() -> None:
    event = days()[2]
    lines = inserted_lines(event)
    assert event.after[lines[0][0] : lines[0][1]].strip().startswith("def add")
    for kind in (Kind.LINE, Kind.BLOCK, Kind.NODE, Kind.RANDOM, Kind.EMPTY):
        found = drawn(event, kind, 8, 1)
        assert found, kind
        assert found == drawn(event, kind, 8, 1)
        for one in found:
            assert one.hole.prefix + one.middle + one.hole.suffix == event.after
            assert any(begin <= len(one.hole.prefix) <= end for begin, end in lines)
            assert (one.middle == "") == (kind is Kind.EMPTY)


def test_syntax_nodes_are_whole() -> None:
    """A node of Python's grammar parses or is a part between brackets; it never ends in the middle of a word."""
    nodes = drawn(days()[2], Kind.NODE, 24, 3)
    assert any("\n" in one.middle for one in nodes)
    for one in nodes:
        assert not (one.middle[-1].isalnum() and one.hole.suffix[:1].isalnum())
        assert one.middle.count("(") == one.middle.count(")")


def test_nodes_are_found_among_characters_of_many_bytes() -> None:
    """Tree-sitter counts bytes, an example characters."""
    event = edit("a.py", "", "größe = 'äöü €'\nsumme = f(größe, 'ñ')\n")
    nodes = {one.middle for one in drawn(event, Kind.NODE, 40, 1)} - {event.after}
    assert {"größe", "f(größe, 'ñ')"} & nodes
    assert nodes <= {"größe", "summe", "'äöü €'", "'ñ'", "(größe, 'ñ')", "f(größe, 'ñ')", "äöü €",
                     "größe = 'äöü €'", "summe = f(größe, 'ñ')"}  # fmt: skip
