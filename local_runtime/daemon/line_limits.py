"""Ends a completion early, at the line's own scale: when its time is over, or where a block of code is left.

Both rules are llama.cpp's (`tools/server/README.md`: `t_max_predict_ms`, `n_indent`), for clients that rely on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from local_runtime.engines.protocol import Piece, Stop


class LineLimits:
    """The limits of one choice; its pieces go through `cut` in order.

    After `predict_ms` since the first token it ends as soon as a line break has been generated. A later line with text that
    is indented by fewer than `min_indent` characters ends it, and is left out. Empty lines do not count.
    """

    def __init__(
        self, predict_ms: float | None, min_indent: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._predict_ms = predict_ms
        self._min_indent = min_indent
        self._clock = clock
        self._began: float | None = None
        self._several_lines = False
        self._indent: int | None = None
        """White space at the beginning of a line so far; None past it, and on the cursor's own line."""

    def cut(self, piece: Piece) -> Piece:
        """The piece, or as much of it as may still come, with `Stop.LENGTH`."""
        if self._began is None and piece.token_ids:
            self._began = self._clock()
        at = self._end(piece.text)
        if at is not None:
            return Piece(piece.text[:at], piece.token_ids, piece.logprobs, Stop.LENGTH)
        if piece.stop is None and self._several_lines and self._over():
            return Piece(piece.text, piece.token_ids, piece.logprobs, Stop.LENGTH)
        return piece

    def _end(self, text: str) -> int | None:
        for at, character in enumerate(text):
            if character == "\n":
                self._several_lines, self._indent = True, 0
            elif self._indent is None or character == "\r":
                continue
            elif character in " \t":
                self._indent += 1
            elif self._indent < self._min_indent:
                return at
            else:
                self._indent = None
        return None

    def _over(self) -> bool:
        if self._predict_ms is None or self._began is None:
            return False
        return (self._clock() - self._began) * 1000 >= self._predict_ms
