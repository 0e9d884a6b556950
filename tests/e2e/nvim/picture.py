"""A terminal's screen as a picture: SVG, one text element per run of one colour."""

from __future__ import annotations

from html import escape
from itertools import groupby

import pyte
from pyte.screens import Char

CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 12
FOREGROUND, BACKGROUND = "#e0e2ea", "#14161b"
"""Neovim's own dark colours."""


def svg(screen: pyte.Screen, lines: int | None = None) -> str:
    """The first `lines` of the screen, all without a number, and the cursor as a bar."""
    n_lines = lines or screen.lines
    width, height = screen.columns * CELL_WIDTH + 2 * MARGIN, n_lines * CELL_HEIGHT + 2 * MARGIN
    rows = "".join(_row(screen, number) for number in range(n_lines))
    x, y = MARGIN + screen.cursor.x * CELL_WIDTH, MARGIN + screen.cursor.y * CELL_HEIGHT
    cursor = f'<rect x="{x:.1f}" y="{y}" width="2" height="{CELL_HEIGHT}" fill="{FOREGROUND}"/>\n'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-size="14" '
        'font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" xml:space="preserve">\n'
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>\n{rows}{cursor}</svg>\n'
    )


def _row(screen: pyte.Screen, number: int) -> str:
    cells = [(column, screen.buffer[number][column]) for column in range(screen.columns)]
    runs = []
    for style, group in groupby(cells, key=lambda cell: _style(cell[1])):
        run = list(group)
        text = "".join(char.data for _, char in run)
        if text.strip():
            column = run[0][0] + len(text) - len(text.lstrip())  # viewers drop leading blanks
            x, y = MARGIN + column * CELL_WIDTH, MARGIN + number * CELL_HEIGHT + 13
            length = f'textLength="{len(text.strip()) * CELL_WIDTH:.1f}"'
            runs.append(f'<text x="{x:.1f}" y="{y}" {length} {style}>{escape(text.strip())}</text>\n')
    return "".join(runs)


def _style(char: Char) -> str:
    colour = FOREGROUND if char.fg == "default" else f"#{char.fg}" if len(char.fg) == 6 else char.fg
    more = ' font-weight="bold"' if char.bold else ""
    return f'fill="{colour}"{more}' + (' font-style="italic"' if char.italics else "")
