"""Server-sent events, read without trust: bytes in, the data of whole events out, and never more than a bound in memory."""

from __future__ import annotations

from collections.abc import Iterator

MAX_EVENT_BYTES = 1 << 20
MAX_STREAM_BYTES = 16 << 20
"""A completion of 4,096 tokens with all its log-probabilities is a tenth of this."""


class TooMuch(Exception):
    """The stream, or one line of it, is larger than any completion."""


class EventStream:
    """The parser of the HTML standard's `text/event-stream`, as far as OpenAI's protocol uses it: lines of `data`."""

    def __init__(self) -> None:
        self._rest = b""
        self._n_bytes = 0

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The data of each line that is complete by now. Raises TooMuch."""
        self._n_bytes += len(received)
        *lines, self._rest = (self._rest + received).split(b"\n")
        if self._n_bytes > MAX_STREAM_BYTES or len(self._rest) > MAX_EVENT_BYTES:
            raise TooMuch
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
