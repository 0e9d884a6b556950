"""A snapshot of the surroundings of a cursor: what the rest of the server works on, whatever the editor does meanwhile.

Only a window of the document is taken: a keystroke in a file of 50,000 lines costs what it costs in a short one. Its borders
move in steps of `STEP_LINES`, so that moving a line down leaves the prompt's beginning, and with it the KV cache, as it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from local_runtime.prompts.hole import Hole

from .documents import Document, Documents, Position

PREFIX_CHARS = 12_000
SUFFIX_CHARS = 6_000
STEP_LINES = 32

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one version of a document. Texts use `\\n` alone, as the model does."""

    uri: str
    version: int
    position: Position
    """In code points."""
    hole: Hole
    n_lines_below: int
    """In the whole document: it changes with every line that comes or goes behind the cursor."""

    @property
    def line_prefix(self) -> str:
        """The current line up to the cursor."""
        return self.hole.prefix.rpartition("\n")[2]

    @property
    def line_suffix(self) -> str:
        """The current line after the cursor."""
        return self.hole.suffix.partition("\n")[0]

    def after(self, text: str) -> Cursor:
        """The place behind `text`, had it been typed here."""
        last = text.rpartition("\n")[2]
        n_lines = text.count("\n")
        column = len(last) if n_lines else self.position.column + len(last)
        position = Position(self.position.line + n_lines, column)
        return replace(self, position=position, hole=replace(self.hole, prefix=self.hole.prefix + text))

    def with_selected(self, start: Position, end: Position, text: str) -> Cursor:
        """The place behind `text`, had the popup's entry replaced `start` to `end` of the current line."""
        before = self.position.column - start.column
        behind = max(0, end.column - self.position.column)
        prefix = self.hole.prefix[: len(self.hole.prefix) - before] if before > 0 else self.hole.prefix
        suffix = self.line_suffix[behind:] + self.hole.suffix[len(self.line_suffix) :]
        position = Position(self.position.line, start.column + len(text))
        return replace(self, position=position, hole=replace(self.hole, prefix=prefix + text, suffix=suffix))


def cursor_at(documents: Documents, document: Document, position: Position) -> Cursor:
    """The surroundings of `position` (in code points, inside the document)."""
    hole = Hole(
        path=shown_path(documents, document),
        language=document.language,
        prefix=_clean(_above(document, position)),
        suffix=_clean(_below(document, position)),
    )
    return Cursor(document.uri, document.version, position, hole, len(document.lines) - position.line)


def shown_path(documents: Documents, document: Document) -> str:
    """The path as the model may see it: relative to the workspace folder, else the name alone."""
    if document.path is None:
        return "untitled"
    folder = documents.folder_of(document.path)
    return document.path.relative_to(folder).as_posix() if folder else document.path.name


def _above(document: Document, position: Position) -> str:
    line = document.lines[position.line][: position.column][-PREFIX_CHARS:]
    first, size = position.line, len(line)
    while first and size + len(document.lines[first - 1]) <= PREFIX_CHARS:
        first -= 1
        size += len(document.lines[first])
    if first:  # round towards the cursor, unless that would leave nothing
        first = min(-(-first // STEP_LINES) * STEP_LINES, position.line)
    return "".join(document.lines[first : position.line]) + line


def _below(document: Document, position: Position) -> str:
    line = document.lines[position.line][position.column :][:SUFFIX_CHARS]
    last, size = position.line + 1, len(line)
    while last < len(document.lines) and size + len(document.lines[last]) <= SUFFIX_CHARS:
        size += len(document.lines[last])
        last += 1
    if last < len(document.lines):
        last = max(last // STEP_LINES * STEP_LINES, position.line + 1)
    return line + "".join(document.lines[position.line + 1 : last])


def _clean(text: str) -> str:
    """One kind of line end, and no half of a character: neither JSON nor a tokenizer could take one."""
    return _SURROGATE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
