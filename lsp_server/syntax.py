"""What kind of place a cursor stands in, read with tree-sitter where there is a grammar, else from the line itself.

Only the nearest 4,000 characters above the cursor are parsed (0.3 ms), from a line that is not indented; the
parser recovers from what is not finished yet.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache

from tree_sitter import Language, Node, Parser

from .brackets import brackets

N_PARSED_CHARS = 4_000
_UNINDENTED = re.compile(r"\n[^\s)\]}]")
_PYTHON_HEADER = re.compile(
    r"\s*(?:async\s+)?(?:class|def|if|elif|else|for|while|try|except|finally|with|match|case)\b"
)
_WORD_OPENER = re.compile(r"\b(?:do|then|else|begin|repeat)$|\bfunction\b.*\)$|^\s*(?:def|class|module)\b[^;]*$")
_WORD_BLOCKS = frozenset({"lua", "ruby", "shellscript", "elixir", "julia"})
_VALUE_BEFORE_BRACE = re.compile(r"(?:[=(,:\[?]|\breturn|\bimport|\bexport|\$)\s*\{$")


class Kind(StrEnum):
    """What the text before the cursor ends in."""

    CODE = "code"
    OPENER = "opener"
    """The last thing before the cursor opens a block: its body is missing."""
    STRING = "string"
    COMMENT = "comment"


def kind_at(language: str, prefix: str) -> Kind:
    """The kind of place at the end of `prefix`, which may begin anywhere at a line's start."""
    tail = prefix.rstrip()
    if len(tail) > N_PARSED_CHARS and (start := _UNINDENTED.search(tail, len(tail) - N_PARSED_CHARS)):
        prefix, tail = prefix[start.end() - 1 :], tail[start.end() - 1 :]
    if not tail:
        return Kind.CODE
    line = tail.rpartition("\n")[2]
    on_this_line = "\n" not in prefix[len(tail) :]
    state = brackets(line, language)
    if state.in_comment:
        return Kind.COMMENT if on_this_line else Kind.CODE
    node = _leaf(language, tail)
    if node is not None and _inside(node, "comment") and (on_this_line or node.has_error):
        return Kind.COMMENT
    if (state.quote and on_this_line) or (
        node is not None and _in_open_string(node, len(tail.encode("utf-8", "replace")))
    ):
        return Kind.STRING
    return Kind.OPENER if _opens(language, line, node) else Kind.CODE


def _opens(language: str, line: str, node: Node | None) -> bool:
    if language == "python":
        if not line.endswith(":"):
            return False
        if node is not None and node.parent is not None and node.parent.type != "ERROR":
            return any(
                child.type == "block" or child == node for child in node.parent.children[-2:]
            ) and node.parent.type.endswith(("_statement", "_clause", "_definition"))
        return bool(_PYTHON_HEADER.match(line)) and not brackets(line, language).unclosed
    if line.endswith("{"):
        return not _VALUE_BEFORE_BRACE.search(line)
    return language in _WORD_BLOCKS and bool(_WORD_OPENER.search(line))


def _in_open_string(node: Node, end: int) -> bool:
    """Whether the text ends inside a string: it has begun, and no closing quote stands at its end."""
    walk: Node | None = node
    while walk is not None:
        if walk.type in ("string", "template_string"):
            closed = (
                walk.child_count > 1
                and walk.children[-1].type in ("string_end", '"', "'", "`")
                and not walk.children[-1].is_missing
            )
            return not (closed and walk.end_byte <= end)
        if walk.type in ("string_start", "string_content", "string_fragment"):
            return walk.parent is None or walk.parent.type == "ERROR"
        walk = walk.parent
    return False


def _inside(node: Node, kind: str) -> bool:
    walk: Node | None = node
    while walk is not None:
        if kind in walk.type:
            return True
        walk = walk.parent
    return False


def _leaf(language: str, text: str) -> Node | None:
    parser = _parser(language)
    if parser is None:
        return None
    data = text.encode("utf-8", "replace")
    return parser.parse(data).root_node.descendant_for_byte_range(len(data) - 1, len(data))


@cache
def _parser(language: str) -> Parser | None:
    """A grammar is loaded when its language is met first."""
    if language == "python":
        import tree_sitter_python as python  # noqa: PLC0415

        return Parser(Language(python.language()))
    if language in ("javascript", "javascriptreact"):
        import tree_sitter_javascript as javascript  # noqa: PLC0415

        return Parser(Language(javascript.language()))
    if language in ("typescript", "typescriptreact"):
        import tree_sitter_typescript as typescript  # noqa: PLC0415

        tsx = language == "typescriptreact"
        return Parser(Language(typescript.language_tsx() if tsx else typescript.language_typescript()))
    return None
