"""The text of every open document, and the only column arithmetic of this project.

An editor counts columns in UTF-8 bytes, UTF-16 units or code points, as agreed at `initialize`; everything behind this
module counts code points. A line ends at `\\r\\n`, `\\r` or `\\n` and nowhere else (LSP 3.18, "Text Documents"): not at a form
feed, not at U+2028. Positions past the end are clamped, as the specification asks; one inside a character means its start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Encoding(StrEnum):
    """What the editor counts a column in."""

    UTF8 = "utf-8"
    UTF16 = "utf-16"
    UTF32 = "utf-32"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Line and column from 0. The column is in the editor's units on the wire, in code points everywhere else."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Change:
    """What the editor says it did: replace from `start` to `end` (its units) with `text`; all of it without a range."""

    text: str
    start: Position | None = None
    end: Position | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """What that did to our text: at `offset` (code points from the document's start) `removed` became `inserted`."""

    offset: int
    removed: str
    inserted: str
    end: Position
    """Where the inserted text ends (code points): likely the cursor."""


def split_lines(text: str) -> list[str]:
    """Lines with their ends; the last one has none and may be empty, so there is always at least one."""
    lines = _LINE.findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def line_end(line: str) -> int:
    """Length in code points without the line's end."""
    return len(line.rstrip("\r\n"))


def column_of(line: str, units: int, encoding: Encoding) -> int:
    """Code points before the column `units` of a line; clamped to the line's end, which its terminator is no part of."""
    end = line_end(line)
    if encoding is Encoding.UTF32 or line.isascii():
        return max(0, min(units, end))
    if encoding is Encoding.UTF8:
        data = line[:end].encode("utf-8", "surrogatepass")
        cut = max(0, min(units, len(data)))
        while cut < len(data) and data[cut] & 0xC0 == 0x80:
            cut -= 1
        return len(data[:cut].decode("utf-8", "surrogatepass"))
    data = line[:end].encode("utf-16-le", "surrogatepass")
    cut = 2 * max(0, min(units, len(data) // 2))
    if cut < len(data) and data[cut + 1] & 0xFC == 0xDC and cut and data[cut - 1] & 0xFC == 0xD8:
        cut -= 2
    return len(data[:cut].decode("utf-16-le", "surrogatepass"))


def units_of(line: str, column: int, encoding: Encoding) -> int:
    """The inverse of `column_of`: what the editor calls a column that is given in code points."""
    if encoding is Encoding.UTF32 or line.isascii():
        return column
    if encoding is Encoding.UTF8:
        return len(line[:column].encode("utf-8", "surrogatepass"))
    return len(line[:column].encode("utf-16-le", "surrogatepass")) // 2


class Document:
    """One open document: its lines, edited in place."""

    def __init__(self, uri: str, language: str, version: int, text: str) -> None:
        self.uri = uri
        self.path = path_of(uri)
        self.language = language
        self.version = version
        self.lines = split_lines(text)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.lines)

    def locate(self, position: Position, encoding: Encoding) -> Position:
        """From the editor's units to code points, clamped into the document."""
        if position.line >= len(self.lines):
            return Position(len(self.lines) - 1, len(self.lines[-1]))
        line = max(0, position.line)
        return Position(line, column_of(self.lines[line], position.column, encoding))

    def clamped(self, position: Position) -> Position:
        """The nearest place that exists."""
        line = min(position.line, len(self.lines) - 1)
        return Position(line, min(position.column, line_end(self.lines[line])))

    def offset(self, position: Position) -> int:
        """Code points before `position`."""
        return sum(map(len, self.lines[: position.line])) + position.column

    def between(self, start: Position, end: Position) -> str:
        """The text from `start` to `end`."""
        if start.line == end.line:
            return self.lines[start.line][start.column : end.column]
        middle = "".join(self.lines[start.line + 1 : end.line])
        return self.lines[start.line][start.column :] + middle + self.lines[end.line][: end.column]

    def apply(self, change: Change, encoding: Encoding) -> Edit:
        """Take over one change of the editor."""
        if change.start is None or change.end is None:
            return self._replace_all(change.text)
        start, end = sorted((self.locate(change.start, encoding), self.locate(change.end, encoding)))
        offset, removed = self.offset(start), self.between(start, end)
        self._splice(start, end, change.text)
        inserted = split_lines(change.text)
        column = len(inserted[-1]) + (start.column if len(inserted) == 1 else 0)
        return Edit(offset, removed, change.text, self.clamped(Position(start.line + len(inserted) - 1, column)))

    def _splice(self, start: Position, end: Position, text: str) -> None:
        head, tail = self.lines[start.line][: start.column], self.lines[end.line][end.column :]
        first, last = start.line, end.line
        # A terminator may be torn or made at the seams: "\r" before what now begins with "\n".
        if first and self.lines[first - 1].endswith("\r"):
            first -= 1
            head = self.lines[first] + head
        if last + 1 < len(self.lines):
            last += 1
            tail += self.lines[last]
        merged = head + text + tail
        if _SURROGATE.search(merged):  # two halves of a character, inserted one by one, are that character
            merged = merged.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        lines = split_lines(merged)
        if last + 1 < len(self.lines) and not lines[-1]:
            lines.pop()  # the empty rest of a whole line: what follows is in place already
        self.lines[first : last + 1] = lines

    def _replace_all(self, text: str) -> Edit:
        old, new = self.lines, split_lines(text)
        self.lines = new
        top = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
        top = min(top, len(old) - 1, len(new) - 1)
        shorter = min(len(old), len(new)) - top - 1
        bottom = sum(1 for _ in takewhile(lambda k: old[-k] == new[-k], range(1, shorter + 1)))
        removed, inserted = "".join(old[top : len(old) - bottom]), "".join(new[top : len(new) - bottom])
        shared = common_length(removed, inserted)
        last = len(new) - 1 - bottom
        end = Position(last, line_end(new[last]))
        return Edit(sum(map(len, new[:top])) + shared, removed[shared:], inserted[shared:], end)


def common_length(one: str, other: str) -> int:
    """How many code points two texts share from their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


class Documents:
    """All open documents of one editor window."""

    def __init__(self) -> None:
        self.encoding = Encoding.UTF16
        self.folders: tuple[Path, ...] = ()
        """Workspace folders."""
        self._open: dict[str, Document] = {}

    def open(self, uri: str, language: str, version: int, text: str) -> Document:
        """A document was opened; opening it again replaces it."""
        document = self._open[uri] = Document(uri, language, version, text)
        return document

    def change(self, uri: str, version: int, changes: list[Change]) -> tuple[Edit, ...]:
        """Apply changes in order. Changes of a document that is not open are ignored."""
        document = self._open.get(uri)
        if document is None:
            return ()
        document.version = version
        return tuple(document.apply(change, self.encoding) for change in changes)

    def close(self, uri: str) -> Document | None:
        """A document was closed; None if it was not open."""
        return self._open.pop(uri, None)

    def get(self, uri: str) -> Document | None:
        """The open document behind a URI."""
        return self._open.get(uri)

    def all(self) -> tuple[Document, ...]:
        """Every open document, the one opened last at the end."""
        return tuple(self._open.values())

    def folder_of(self, path: Path) -> Path | None:
        """The innermost workspace folder that holds `path`."""
        holding = [folder for folder in self.folders if path.is_relative_to(folder)]
        return max(holding, key=lambda folder: len(folder.parts), default=None)

    def wire(self, document: Document, position: Position) -> Position:
        """From code points to the editor's units."""
        return Position(position.line, units_of(document.lines[position.line], position.column, self.encoding))


def path_of(uri: str) -> Path | None:
    """The file behind a `file:` URI on this machine; None for any other."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "\0" in (path := unquote(parts.path)):
        return None
    return Path(path) if path.startswith("/") else None
