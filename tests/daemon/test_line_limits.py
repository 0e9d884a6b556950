"""Where a completion ends although the model would go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_runtime.daemon.line_limits import LineLimits
from local_runtime.engines.protocol import Piece, Stop


def said(limits: LineLimits, parts: list[str]) -> tuple[str, Stop | None]:
    text = ""
    for part in parts:
        piece = limits.cut(Piece(part, (1,), (0.0,)))
        text += piece.text
        if piece.stop:
            return text, piece.stop
    return text, None


@pytest.mark.parametrize(
    ("text", "min_indent", "kept"),
    [
        ("a\n    b\n    c", 4, None),
        ("a\n    b\n  c", 4, "a\n    b\n  "),
        ("a\nb", 1, "a\n"),
        ("a\n\n\r\n\tb\nc", 1, "a\n\n\r\n\tb\n"),
        ("a\nb\nc", 0, None),
        ("a\n  b c\n  d", 2, None),
    ],
)
def test_a_further_line_must_be_indented(text: str, min_indent: int, kept: str | None) -> None:
    expected = (text, None) if kept is None else (kept, Stop.LENGTH)
    assert said(LineLimits(None, min_indent), [text]) == expected
    assert said(LineLimits(None, min_indent), list(text)) == expected


@given(st.lists(st.text(alphabet=" \t\n\rab", max_size=6), max_size=8), st.integers(0, 4))
def test_how_the_text_is_cut_into_pieces_does_not_matter(parts: list[str], min_indent: int) -> None:
    whole = "".join(parts)
    assert said(LineLimits(None, min_indent), parts)[0] == said(LineLimits(None, min_indent), [whole])[0]


def test_time_counts_from_the_first_token_and_ends_after_a_line() -> None:
    def clock() -> Iterator[float]:
        yield from (10.0, 10.0, 10.2, 10.9)  # the first token; then once per piece after a line break

    ticks = clock()
    limits = LineLimits(500, 0, lambda: next(ticks))
    pieces = [Piece(), Piece("a", (1,)), Piece("b\n", (2,)), Piece("c", (3,)), Piece("d", (4,))]
    cut = [limits.cut(piece) for piece in pieces]
    assert [piece.stop for piece in cut] == [None, None, None, None, Stop.LENGTH]
    assert cut[4].text == "d"


def test_the_models_own_end_is_left_as_it_is() -> None:
    end = Piece("\nx", (1,), (0.0,), Stop.END)
    assert LineLimits(0, 0).cut(end) is end
