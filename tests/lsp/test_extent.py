"""Where a cursor stands, and how much there is to say."""

from __future__ import annotations

import pytest
from test_postprocess import cursor_in

from lsp_server.brackets import brackets
from lsp_server.extent import Extent, scope_at
from lsp_server.syntax import Kind, kind_at

OPENERS = [
    ("python", "def f(x):", Kind.OPENER),
    ("python", "def f(x) -> dict[str, int]:\n    ", Kind.OPENER),
    ("python", "async def f(\n    x: int,\n):\n", Kind.OPENER),
    ("python", "if x:\n    pass\nelse:", Kind.OPENER),
    ("python", "try:\n    x()\nexcept (A, B) as e:", Kind.OPENER),
    ("python", "match x:\n    case 1:", Kind.OPENER),
    ("python", "with a as b, c as d:", Kind.OPENER),
    ("python", "x = {'a':", Kind.CODE),
    ("python", "x[1:", Kind.CODE),
    ("python", "f(lambda x:", Kind.CODE),
    ("python", "x: int = 3\ny:", Kind.CODE),
    ("python", "# if x:", Kind.COMMENT),
    ("python", "# if x:\n", Kind.CODE),
    ("python", "x = 'abc", Kind.STRING),
    ("python", 'def f():\n    """Say what', Kind.STRING),
    ("python", 'def f():\n    """Say what.', Kind.STRING),
    ("python", 'def f():\n    """Say what."""\n', Kind.CODE),
    ("python", "x = 'abc'", Kind.CODE),
    ("javascript", "function f(a) {", Kind.OPENER),
    ("javascript", "if (a) {\n  ", Kind.OPENER),
    ("typescript", "const f = (a: number) => {", Kind.OPENER),
    ("typescript", "interface A {", Kind.OPENER),
    ("typescript", "const x = {", Kind.CODE),
    ("typescript", "call({", Kind.CODE),
    ("typescript", "// if (a) {", Kind.COMMENT),
    ("typescriptreact", "class A {\n  f() {", Kind.OPENER),
    ("rust", "fn main() {", Kind.OPENER),
    ("go", "x := map[string]int{", Kind.OPENER),
    ("lua", "for i = 1, 3 do", Kind.OPENER),
    ("lua", "local x = 3", Kind.CODE),
    ("ruby", "def f(x)", Kind.OPENER),
    ("plaintext", "", Kind.CODE),
]


@pytest.mark.parametrize(("language", "prefix", "kind"), OPENERS)
def test_kind_of_place(language: str, prefix: str, kind: Kind) -> None:
    assert kind_at(language, prefix) is kind


def test_a_long_file_does_not_change_the_kind() -> None:
    assert kind_at("python", "x = 1\n" * 20_000 + "def f(x):\n    ") is Kind.OPENER


@pytest.mark.parametrize(
    ("buffer", "extent"),
    [
        ("def f(x):\n    <cursor>", Extent.BLOCK),
        ("def f(x):<cursor>", Extent.BLOCK),
        ("def f(x):\n    <cursor>\n    return x", Extent.LINE),
        ("def f(x):\n    y = 1\n    <cursor>", Extent.LINE),
        ("def f(<cursor>)", Extent.INSIDE),
        ("x = <cursor>\n", Extent.LINE),
    ],
)
def test_extent(buffer: str, extent: Extent) -> None:
    assert scope_at(cursor_in(buffer, "python"), 12).extent is extent


def test_a_block_ends_while_it_grows() -> None:
    scope = scope_at(cursor_in("def f(x):\n    <cursor>\nprint(f)", "python"), 12)
    assert scope.end("y = 1\n    return y") is None
    assert scope.end("y = 1\n    return y\n") is None
    assert scope.end("y = 1\n    return y\nz") == len("y = 1\n    return y")
    assert scope.end("y = 1\n\n\n    z") == len("y = 1")


def test_brackets() -> None:
    assert brackets("f(a[1], {", "python").unclosed == "({"
    assert brackets("a) + b]", "python").unopened == (1, 6)
    assert brackets("')' + \"]\" # )", "python").unopened == ()
    assert brackets("'it\\'s", "python").quote == "'"
    assert brackets("x # (", "python").in_comment
    assert brackets("x # (", "typescript").unclosed == "("
    assert brackets("'''a\n(", "python").quote == "'''"
