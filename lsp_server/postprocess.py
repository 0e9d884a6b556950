"""From what the model wrote to what is shown. Pure: a cursor, a scope and raw text in; a text or the reason for none out.

Every step is a function from text to text that knows one trouble of models; `tests/golden/postprocess` shows each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .brackets import TWINS, brackets, line_comment
from .cursor import Cursor
from .extent import N_WORD_CHARS_OF_A_LINE, TAB_WIDTH, Extent, Scope, indent_width
from .skip import Skip
from .syntax import Kind

N_REPEATED_LINES = 2
MIN_LOOP_PERIODS = 4
MAX_LOOP_PERIOD = 24
MIN_RETYPED_CHARS = 8
RETYPED_WITHIN_LINES = 3
N_NEAR_CHARS = 2_000

QUOTES = "\"'`"

_CONTROL_TOKEN = re.compile(
    r"<[|｜][\w▁ .:-]{1,40}[|｜]>|</?(?:fim_|file_|repo_|s>|unk>|pad>|mask>|EOT>)[\w]*>?|▁<(?:PRE|SUF|MID|EOT)>"
)
_FENCE = re.compile(r"^[ \t]*```.*", re.MULTILINE)
_LOOP = re.compile(rf"(.{{1,{MAX_LOOP_PERIOD}}}?)\1{{{MIN_LOOP_PERIODS - 1},}}", re.DOTALL)
_UNINDENTED = re.compile(r"\n[^\s)\]}]")
_HALF_WORD = re.compile(r"\w+\Z")


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion: `text` goes in at the cursor and replaces `covers` code points right of it."""

    text: str
    covers: int = 0


def postprocess(cursor: Cursor, scope: Scope, raw: str, complete: bool, *, goes_on: bool = False) -> Shown | Skip:
    """What of `raw` to show. `complete`: the model had ended it; `goes_on`: `raw` continues what was typed of it."""
    text = said(cursor, scope, raw, complete)
    if isinstance(text, Skip):
        return text
    return fitted(cursor, scope, text if goes_on else unindented(text, cursor, scope))


def said(cursor: Cursor, scope: Scope, raw: str, complete: bool) -> str | Skip:
    """The sensible part of what the model wrote, whatever stands around it."""
    text = _CONTROL_TOKEN.split(raw, maxsplit=1)[0].replace("\r\n", "\n").replace("\r", "\n")
    end = scope.end(text)
    complete = complete or end is not None
    text = _FENCE.split(text[:end], maxsplit=1)[0]
    if not complete:
        text = whole_words(text, cursor, scope)
    if not text.strip():
        if end == 0 and scope.extent is Extent.INSIDE and raw[0] != "\n":
            return Skip.ALREADY_THERE
        return Skip.EMPTY if complete else Skip.DEADLINE
    return without_loops(text) or Skip.REPETITION


def fitted(cursor: Cursor, scope: Scope, text: str) -> Shown | Skip:
    """The part of `text` that is new here, in the file's own manner."""
    text = indented(text, cursor)
    if retypes_above(text, cursor):
        return Skip.REPETITION
    text = without_lines_below(text, cursor)
    if not text.strip():
        return Skip.ALREADY_THERE
    text = without_stray_closers(text, cursor).rstrip(" \t\n")
    shown = beside_suffix(text, cursor)
    if not shown.text.strip():
        return Skip.ALREADY_THERE if text else Skip.NOISE
    return Skip.NOISE if is_noise(shown.text, cursor, scope) else shown


def whole_words(text: str, cursor: Cursor, scope: Scope) -> str:
    """A text that was cut short ends with a whole line (of a block) or a whole word."""
    if scope.extent is Extent.BLOCK and (lines := text.rpartition("\n")[0]).strip():
        return lines
    half = _HALF_WORD.search(text)
    if half is None:
        return text
    if half.start() == 0 and cursor.line_prefix[-1:].isidentifier():
        return ""
    return text[: half.start()]


def without_loops(text: str) -> str:
    """Cut where a line, a pair of lines or a few characters begin to go round."""
    lines = text.split("\n")
    for period in (1, 2, 3):
        for start in range(len(lines) - period * N_REPEATED_LINES):
            block = lines[start : start + period]
            repeats = all(
                lines[start + k * period : start + (k + 1) * period] == block for k in range(1, N_REPEATED_LINES + 1)
            )
            if repeats and any(_n_word_chars(line) for line in block):
                return "\n".join(lines[: start + period])
    for loop in _LOOP.finditer(text):
        if _n_word_chars(loop[1]) and not loop[1].isdigit() and len(loop[0]) >= MIN_RETYPED_CHARS:
            return text[: loop.start()]
    return text


def unindented(text: str, cursor: Cursor, scope: Scope) -> str:
    """An indentation that stands before the cursor already is not written twice."""
    line_prefix = cursor.line_prefix
    deep_enough = scope.above_indent + (1 if scope.kind is Kind.OPENER else 0)
    doubled = line_prefix and not line_prefix.strip() and indent_width(line_prefix) >= deep_enough
    return text.lstrip(" \t") if doubled else text


def indented(text: str, cursor: Cursor) -> str:
    """Tabs or spaces, as the file has them."""
    uses_tabs = _uses_tabs(cursor)
    if uses_tabs is None:
        return text
    first, *others = text.split("\n")
    step = _step(others) if uses_tabs else TAB_WIDTH
    return "\n".join([first, *(_retab(line, uses_tabs, step) for line in others)])


def retypes_above(text: str, cursor: Cursor) -> bool:
    """Whether the text only says once more what stands right above it."""
    said = [line.strip() for line in (cursor.line_prefix + text).split("\n") if line.strip()]
    if not said:
        return False
    above = [line.strip() for line in cursor.hole.prefix.split("\n")[:-1] if line.strip()][
        -len(said) - RETYPED_WITHIN_LINES :
    ]
    again = any(above[start : start + len(said)] == said for start in range(len(above)))
    return again and _n_word_chars("".join(said)) >= MIN_RETYPED_CHARS


def without_lines_below(text: str, cursor: Cursor) -> str:
    """Drop what the suffix goes on with: a line that comes next anyway, or an end that is its beginning."""
    below = [line.strip() for line in cursor.hole.suffix.split("\n")[1:] if line.strip()]
    lines = text.split("\n")
    whole = [(cursor.line_prefix + lines[0]).strip(), *(line.strip() for line in lines[1:])]
    if below and whole[0] == below[0] and _n_word_chars(whole[0]) >= N_WORD_CHARS_OF_A_LINE:
        return ""
    for start in range(1, len(lines)):
        tail = [line for line in whole[start:] if line]
        if tail and tail == below[: len(tail)]:
            return "\n".join(lines[:start])
    return text


def without_stray_closers(text: str, cursor: Cursor) -> str:
    """Cut at the first bracket that closes nothing, neither in the text nor before the cursor."""
    unopened = brackets(text, cursor.hole.language).unopened
    if not unopened or brackets(cursor.line_prefix, cursor.hole.language).quote:
        return text
    before = brackets(_near(cursor.hole.prefix), cursor.hole.language)
    if before.quote or before.in_comment:
        return text
    awaited = list(before.unclosed)
    for at in unopened:
        if not awaited or awaited[-1] != TWINS[text[at]]:
            return text[:at]
        awaited.pop()
    return text


def beside_suffix(text: str, cursor: Cursor) -> Shown:
    """Fit the text to what stands right of the cursor on its line, so that nothing is doubled."""
    right = cursor.line_suffix.strip()
    if not right:
        return Shown(text)
    if _n_word_chars(right):
        overlap = next((n for n in range(min(len(text), len(right)), 0, -1) if text.endswith(right[:n])), 0)
        if overlap == len(right) or _n_word_chars(right[:overlap]) >= N_WORD_CHARS_OF_A_LINE:
            text = text[: len(text) - overlap]
        return Shown(text.rstrip() if cursor.line_suffix[0].isspace() else text)
    twins = [character for character in right if character in TWINS or character in QUOTES]
    if not twins:
        return Shown(text.removesuffix(right))
    closing = _closing(text, cursor)
    if [text[at] for at in closing][: len(twins)] != twins:
        return Shown(text)
    rest = iter(text[closing[0] :])
    if text[closing[0] :].strip() != right and all(character in rest for character in right.replace(" ", "")):
        return Shown(text, covers=len(cursor.line_suffix.rstrip()))
    return Shown(text[: closing[0]])


def is_noise(text: str, cursor: Cursor, scope: Scope) -> bool:
    """Whether nothing in the text is worth a glance: comments where code is written, or stray punctuation."""
    marker = line_comment(cursor.hole.language)
    if scope.kind not in (Kind.COMMENT, Kind.STRING) and not cursor.line_prefix.strip():
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if all(line.startswith(marker) for line in lines):
            return True
    if _n_word_chars(text):
        return False
    stripped = text.strip()
    ends_something = stripped[0] in TWINS or stripped[-1] in "{[(:" or stripped[0] in "\"'`"
    return not (ends_something and cursor.line_prefix.strip())


def _closing(text: str, cursor: Cursor) -> list[int]:
    """Indices of the quote and the brackets in `text` that close what is open before the cursor."""
    language = cursor.hole.language
    quote = brackets(cursor.line_prefix, language).quote
    if not quote:
        return list(brackets(text, language).unopened)
    at = text.find(quote)
    if at < 0:
        return []
    behind = at + len(quote)
    return [*range(at, behind), *(behind + index for index in brackets(text[behind:], language).unopened)]


def _near(prefix: str) -> str:
    """The end of a long text, from a line that is not indented if there is one: no bracket is open there, most likely."""
    if len(prefix) <= N_NEAR_CHARS:
        return prefix
    start = _UNINDENTED.search(prefix, len(prefix) - N_NEAR_CHARS)
    return prefix[start.end() - 1 if start else prefix.find("\n", len(prefix) - N_NEAR_CHARS) + 1 :]


def _uses_tabs(cursor: Cursor) -> bool | None:
    """How the file indents, by the indented line nearest above, else below; None if none is."""
    near = [*reversed(cursor.hole.prefix.split("\n")), *cursor.hole.suffix.split("\n")[1:]]
    return next((line[0] == "\t" for line in near if line[:1] in (" ", "\t") and line.strip(" ")), None)


def _step(lines: list[str]) -> int:
    """The narrowest indentation of the model's lines: one level of its habit."""
    widths = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip() and line[0] == " "]
    return max(1, min(min(widths, default=TAB_WIDTH), TAB_WIDTH))


def _retab(line: str, uses_tabs: bool, step: int) -> str:
    body = line.lstrip(" \t")
    indent = line[: len(line) - len(body)]
    if uses_tabs:
        tabs = indent.count("\t")
        return "\t" * (tabs + (len(indent) - tabs) // step) + body
    return indent.expandtabs(step) + body


def _n_word_chars(text: str) -> int:
    return sum(character.isalnum() for character in text)
