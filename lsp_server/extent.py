"""How much to say: the rest of the line, or a block; and where in a growing answer that is reached."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .brackets import brackets
from .cursor import Cursor
from .syntax import Kind, kind_at

TAB_WIDTH = 4
MAX_BLANK_LINES = 1
N_WORD_CHARS_OF_A_LINE = 3
_BLOCK_ENDS = ("}", ")", "]", "end", "fi", "done", "esac")


class Extent(StrEnum):
    """How far a suggestion may go."""

    INSIDE = "inside"
    """Up to the text that stands right of the cursor."""
    LINE = "line"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Scope:
    """An extent at a place."""

    extent: Extent
    kind: Kind
    above_indent: int
    """Width of the indentation of the nearest line above; of a block, what is not deeper than its opener ends it."""
    next_line: str
    """The first line below the cursor that is not blank, stripped."""
    line_suffix: str
    """The rest of the current line, stripped."""
    opened_with_bracket: bool
    max_lines: int

    def end(self, text: str) -> int | None:
        """Where `text` reaches the scope's end; None while it has not."""
        if self.extent is Extent.BLOCK:
            return self._block_end(text)
        newline = text.find("\n")
        if self.extent is Extent.INSIDE and len(self.line_suffix) >= N_WORD_CHARS_OF_A_LINE:
            at = text.find(self.line_suffix)
            if at >= 0 and (newline < 0 or at < newline):
                return at
        return newline if newline >= 0 else None

    def _block_end(self, text: str) -> int | None:
        lines = text.split("\n")
        at, kept, n_blank = 0, 0, 0
        for number, line in enumerate(lines):
            if number and line.strip():
                if indent_width(line) <= self.above_indent:
                    closes = (
                        self.opened_with_bracket
                        and line.strip().startswith(_BLOCK_ENDS)
                        and self.next_line != line.strip()
                    )
                    if not closes:
                        return kept
                    return at + len(line) if number + 1 < len(lines) else None
                if number + 1 < len(lines) and self._already_below(line):
                    return kept
            n_blank = 0 if line.strip() else n_blank + 1
            if (number and n_blank > MAX_BLANK_LINES) or number >= self.max_lines:
                return kept
            at += len(line) + 1
            kept = at - 1 if line.strip() else kept
        return None

    def _already_below(self, line: str) -> bool:
        stripped = line.strip()
        return stripped == self.next_line and sum(map(str.isalnum, stripped)) >= N_WORD_CHARS_OF_A_LINE


def scope_at(cursor: Cursor, max_lines: int) -> Scope:
    """The scope of a suggestion at a place."""
    prefix, language = cursor.hole.prefix, cursor.hole.language
    kind = kind_at(language, prefix)
    line_suffix = cursor.line_suffix.strip()
    header = next((line for line in reversed(prefix.split("\n")) if line.strip()), "")
    next_line = next((line for line in cursor.hole.suffix.split("\n")[1:] if line.strip()), "")
    if line_suffix:
        extent = Extent.INSIDE
    elif kind is Kind.OPENER and not _has_body(cursor, header, next_line):
        extent = Extent.BLOCK
    else:
        extent = Extent.LINE
    return Scope(
        extent=extent,
        kind=kind,
        above_indent=indent_width(header),
        next_line=next_line.strip(),
        line_suffix=line_suffix,
        opened_with_bracket=bool(brackets(header, language).unclosed) or not header.rstrip().endswith(":"),
        max_lines=max_lines,
    )


def indent_width(line: str) -> int:
    """Width of a line's indentation in columns."""
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    return len(indent.expandtabs(TAB_WIDTH))


def _has_body(cursor: Cursor, header: str, next_line: str) -> bool:
    """Whether the block that `header` opens already has lines: then only a line is missing in it."""
    return bool(next_line) and indent_width(next_line) > indent_width(header)
