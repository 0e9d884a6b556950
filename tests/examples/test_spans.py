"""Where holes are cut: shares, limits, and where a block ends."""

from __future__ import annotations

import inspect
import json.decoder
import random
from collections import Counter

import pytest

from trainer.spans import MAX_MIDDLE_CHARS, SHAPES, Shape, block_end, draw_span


def test_spans_have_their_shapes() -> None:
    rng = random.Random(1)
    text = inspect.getsource(json.decoder)
    drawn = [draw_span(text, rng) for _ in range(2000)]
    shares = Counter(span.shape for span in drawn)
    for shape, share in SHAPES.items():
        assert shares[shape] / len(drawn) == pytest.approx(share, abs=0.04)
    for span in drawn:
        middle = text[span.start : span.end]
        assert len(middle) <= MAX_MIDDLE_CHARS
        if span.shape is Shape.LINE:
            assert "\n" not in middle
            assert text[span.end : span.end + 1] in ("\n", "")
        elif span.shape is Shape.EMPTY:
            assert middle == ""
        elif span.shape is Shape.INSIDE:
            assert "\n" not in middle


def test_a_block_ends_before_a_lesser_indentation_or_a_blank_line() -> None:
    text = "def f():\n    a = 1\n    if a:\n        b = 2\n        c = 3\n    return b\n\nx = 1\n"
    inner = text.index("        b")
    assert text[inner : block_end(text, inner, 12)] == "        b = 2\n        c = 3"
    outer = text.index("    a")
    assert text[: block_end(text, outer, 12)].endswith("return b")
    assert text[outer : block_end(text, outer, 2)].count("\n") == 1
    braces = "if (a) {\n  b();\n}\nc();\n"
    assert braces[: block_end(braces, 0, 12)] == "if (a) {\n  b();\n}"
