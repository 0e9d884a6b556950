"""What the demo prints of a line that was typed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lsp_server.demo.typing import Seen


def print_line(console: Console, line: str, on_line: Sequence[Seen]) -> None:
    """The first suggestion that was right, or the last one there was."""
    shown = [one for one in on_line if one.ghost]
    best = next((one for one in shown if one.is_right), shown[-1] if shown else None)
    if best is None:
        console.print(Text(f"  {line}"))
        return
    first = best.ghost.split("\n")[0]
    row = Text("  ").append(best.line, "bold").append(first, "green dim" if best.is_right else "dim italic")
    row.append(f"    {best.latency_ms:.0f} ms", "cyan")
    if not best.is_right:
        row.append(f"   (typed on: {best.rest.strip() or 'nothing'})", "dim")
    console.print(row, no_wrap=True, overflow="ellipsis")
