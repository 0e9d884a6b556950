"""The document store against an oracle that does the same on one flat list of code units."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.documents import (
    Change,
    Document,
    Documents,
    Encoding,
    Position,
    column_of,
    path_of,
    split_lines,
    units_of,
)

ALPHABET = [
    "a",
    "é",
    "漢",
    "😀",
    "\u2028",
    "\x0c",
    "\x85",
    "\x0b",
    "\x1c",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "\ufeff",
    "e\u0301",
    "\0",
]
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=24).map("".join)
ENCODINGS = st.sampled_from(list(Encoding))


def n_units(character: str, encoding: Encoding) -> int:
    if encoding is Encoding.UTF32:
        return 1
    return len(character.encode("utf-8")) if encoding is Encoding.UTF8 else 1 + (ord(character) > 0xFFFF)


def oracle_offset(text: str, position: Position, encoding: Encoding) -> int:
    """Walk character by character, as the specification describes it."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    if position.line >= len(starts):
        return len(text)
    offset, units = starts[position.line], 0
    while offset < len(text) and text[offset] not in "\r\n":
        units += n_units(text[offset], encoding)
        if units > position.column:
            break
        offset += 1
    return offset


positions = st.builds(Position, st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.tuples(positions, positions, TEXTS), max_size=6), ENCODINGS)
def test_edits_give_what_the_oracle_gives(
    text: str, edits: list[tuple[Position, Position, str]], encoding: Encoding
) -> None:
    document = Document("file:///x.py", "python", 0, text)
    for one, other, inserted in edits:
        start, end = sorted((oracle_offset(text, one, encoding), oracle_offset(text, other, encoding)))
        first, last = sorted((one, other))
        edit = document.apply(Change(inserted, first, last), encoding)
        assert edit.removed == text[start:end]
        text = text[:start] + inserted + text[end:]
        assert document.text == text
        assert document.lines == split_lines(text)
        assert edit.offset == start
        assert document.clamped(edit.end) == edit.end


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_a_full_change_says_what_became_of_what(before: str, after: str) -> None:
    document = Document("file:///x.py", "python", 0, before)
    edit = document.apply(Change(after), Encoding.UTF16)
    at = edit.offset
    assert document.text == after
    assert before[:at] + edit.inserted + before[at + len(edit.removed) :] == after


@given(TEXTS, ENCODINGS)
def test_columns_go_to_units_and_back(text: str, encoding: Encoding) -> None:
    line = split_lines(text)[0]
    for column in range(len(line.rstrip("\r\n")) + 1):
        assert column_of(line, units_of(line, column, encoding), encoding) == column


@pytest.mark.parametrize(("units", "column"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (99, 3), (-1, 0)])
def test_a_column_inside_a_character_means_its_start_and_one_past_the_end_means_the_end(
    units: int, column: int
) -> None:
    assert column_of("a😀b\r\n", units, Encoding.UTF16) == column


def test_two_halves_of_a_character_become_it() -> None:
    document = Document("file:///x.py", "python", 0, "ab")
    document.apply(Change("\ud83d", Position(0, 1), Position(0, 1)), Encoding.UTF16)
    document.apply(Change("\ude00", Position(0, 2), Position(0, 2)), Encoding.UTF16)
    assert document.text == "a😀b"


def test_lines_end_where_the_protocol_says_and_nowhere_else() -> None:
    assert split_lines("a\x0cb\u2028c\x85d\re\r\nf\n") == ["a\x0cb\u2028c\x85d\r", "e\r\n", "f\n", ""]
    assert split_lines("") == [""]


def test_changes_of_a_document_that_is_not_open_are_ignored() -> None:
    assert Documents().change("file:///x.py", 2, [Change("x")]) == ()


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///tmp/a%20b%C3%A9.py", "/tmp/a bé.py"),
        ("file://localhost/tmp/x", "/tmp/x"),
        ("untitled:Untitled-1", None),
        ("file://server/share/x", None),
        ("git:/tmp/x.py?ref", None),
        ("file:///tmp/%00", None),
        ("nonsense", None),
    ],
)
def test_only_files_of_this_machine_have_a_path(uri: str, path: str | None) -> None:
    found = path_of(uri)
    assert (str(found) if found else None) == path
