"""Golden files: a buffer with a cursor, raw model text, what is shown. `--update-golden` rewrites the last part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.cursor import Cursor, cursor_at
from lsp_server.documents import Documents, Position, split_lines
from lsp_server.extent import scope_at
from lsp_server.postprocess import Shown, postprocess
from lsp_server.skip import Skip

GOLDEN = Path(__file__).parents[1] / "golden" / "postprocess"
MAX_LINES = 12
_CASE = re.compile(
    r"(?P<head>.*?)^--- buffer\n(?P<buffer>.*?)^--- raw\n(?P<raw>.*?)^--- shown\n(?P<shown>.*)",
    re.DOTALL | re.MULTILINE,
)


def cursor_in(buffer: str, language: str) -> Cursor:
    before, after = buffer.split("<cursor>")
    documents = Documents()
    document = documents.open("file:///tmp/x", language, 1, before + after)
    above = split_lines(before)
    return cursor_at(documents, document, Position(len(above) - 1, len(above[-1])))


def rendered(answer: Shown | Skip) -> str:
    if isinstance(answer, Skip):
        return f"(skip: {answer})\n"
    return answer.text + (f"\n(covers {answer.covers})" if answer.covers else "") + "\n"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    source = path.read_text()
    case = _CASE.fullmatch(source)
    assert case, f"{path} has no '--- buffer', '--- raw' and '--- shown'"
    facts = dict(line.split(": ", 1) for line in case["head"].splitlines() if ": " in line and line[0] != "#")
    newline = {"crlf": "\r\n", "lf": "\n"}[facts.get("newline", "lf")]
    cursor = cursor_in(case["buffer"][:-1].replace("\n", newline), facts["language"])
    raw = case["raw"][:-1].replace("\n", newline)
    answer = postprocess(cursor, scope_at(cursor, MAX_LINES), raw, facts.get("complete", "yes") == "yes")
    if request.config.getoption("--update-golden"):
        path.write_text(source[: case.start("shown")] + rendered(answer))
    assert rendered(answer) == path.read_text()[case.start("shown") :]


texts = st.lists(
    st.sampled_from(
        [
            "x",
            "foo",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ":",
            ",",
            '"',
            "'",
            "\n",
            "    ",
            "\t",
            " ",
            "def f",
            "return",
            "#",
            "```",
            "<|end|>",
            "é",
        ]
    ),
    max_size=20,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(texts, texts, texts, st.booleans(), st.sampled_from(["python", "typescript", "lua"]))
def test_laws(before: str, after: str, raw: str, complete: bool, language: str) -> None:
    cursor = cursor_in(before + "<cursor>" + after, language)
    answer = postprocess(cursor, scope_at(cursor, MAX_LINES), raw, complete)
    if isinstance(answer, Skip):
        return
    assert answer.text.strip(), "what is shown can be seen"
    assert answer.text == answer.text.rstrip() or cursor.line_suffix.strip(), "blanks at the end only before more text"
    assert 0 <= answer.covers <= len(cursor.line_suffix), "only the cursor's own line is replaced"
    assert answer.text.count("\n") <= MAX_LINES
    assert "\r" not in answer.text
    assert not re.search(r"<\|\w+\|>", answer.text)
