"""Which part of a long text the model is shown, so that the shown part moves rarely.

Text is cut into blocks at the first line start after each multiple of a fixed number of characters. A window is a run of
whole blocks: it starts where a block starts and stays there while lines are typed at its end, so a KV cache that holds it
survives. Nothing outside the window is read, so a file of any length costs the same.
"""

from __future__ import annotations

from collections.abc import Iterator


def blocks_above(text: str, block_chars: int, max_chars: int) -> Iterator[str]:
    """Blocks of the end of `text`, last one first, at most `max_chars` in all.

    Where a block starts depends on the text before it alone, as long as `text` ends with a whole line.
    """
    end = len(text)
    lowest = max(0, end - max_chars)
    while end > lowest:
        k = (end - 1) // block_chars
        start = _cut(text, k, block_chars)
        if start >= end:
            start = _cut(text, k - 1, block_chars)
        if start < lowest:
            if end == len(text):
                yield text[lowest:]
            return
        yield text[start:end]
        end = start


def blocks_below(text: str, block_chars: int, max_chars: int) -> Iterator[str]:
    """Blocks of the beginning of `text`, first one first, at most `max_chars` in all."""
    start, end = 0, min(len(text), max_chars)
    while start < end:
        stop = _cut(text, start // block_chars + 1, block_chars)
        if stop > end:
            if start == 0:
                yield text[:end]
            return
        yield text[start:stop]
        start = stop


def _cut(text: str, k: int, block_chars: int) -> int:
    """Where block `k` starts: in `[k * block_chars, (k + 1) * block_chars)`, at a line start if there is one."""
    position = k * block_chars
    if position <= 0 or position >= len(text):
        return max(0, min(position, len(text)))
    newline = text.find("\n", position - 1, position + block_chars - 1)
    return newline + 1 if newline >= 0 else position
