"""Changes that a formatter, or a cut and a paste, could have made: nothing to learn from."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Sequence

_MAX_PARSED_CHARS = 200_000
_MIN_MOVED_LINES = 3
_MIN_LINE_CHARS = 4
_MOVED_SHARE = 0.9
_LOOSE = re.compile(r"\s+|;|,(?=\s*[)\]}>])")
_BARE = str.maketrans("", "", " \t\r\n\f'\",()\\")
_SCRIPTS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})


def only_formatting(before: str, after: str, language: str) -> bool:
    """Whether two texts say the same, apart from blanks, line breaks and, where that is known, quotes and commas."""
    if "".join(before.split()) == "".join(after.split()):
        return language != "python" or _indents(before) == _indents(after)
    return language in _SCRIPTS and _loose(before) == _loose(after)


def same_tree(before: str, after: str) -> bool:
    """Whether two Python files have the same syntax tree and the same comments."""
    if max(len(before), len(after)) > _MAX_PARSED_CHARS or before.translate(_BARE) != after.translate(_BARE):
        return False  # a formatter adds and takes away blanks, quotes, brackets and commas; parsing is for the rest
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if ast.dump(ast.parse(before)) != ast.dump(ast.parse(after)):
                return False
        return _comments(before) == _comments(after)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return False


def is_moved(lines: Sequence[str], removed: Counter[str]) -> bool:
    """Whether inserted lines are, nearly all, among those that the same change took away elsewhere."""
    telling = [line.strip() for line in lines if len(line.strip()) >= _MIN_LINE_CHARS]
    if len(telling) < _MIN_MOVED_LINES:
        return False
    wanted = Counter(telling)
    found = sum(min(n, removed[line]) for line, n in wanted.items())
    return found >= _MOVED_SHARE * len(telling)


def removed_lines(lines: Sequence[str]) -> Counter[str]:
    """Lines that were taken away, as `is_moved` looks for them."""
    return Counter(line.strip() for line in lines if len(line.strip()) >= _MIN_LINE_CHARS)


def _indents(text: str) -> list[int]:
    """Blanks at the starts of lines mean something in Python."""
    return [len(line) - len(line.lstrip()) for line in text.split("\n") if line.strip()]


def _loose(text: str) -> str:
    return _LOOSE.sub("", text.replace("'", '"').replace("`", '"'))


def _comments(text: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return ["".join(token.string.split()) for token in tokens if token.type == tokenize.COMMENT]
