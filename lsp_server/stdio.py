"""Messages over standard input and output, read on the event loop itself: no thread stands between a key and its handler.

The framework's own reader hands each header line through a thread pool, and parses nested objects as messages if they look
like one. Whatever is no message is skipped; the end of input ends the server, so it never outlives its editor.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from typing import Any, BinaryIO, Protocol

import msgspec

MAX_MESSAGE_BYTES = 256 << 20
_LENGTH = re.compile(rb"content-length:\s*(\d{1,12})\s*", re.IGNORECASE)
log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Who takes a decoded message."""

    def receive(self, message: dict[str, Any]) -> None:
        """Handle it, or raise."""
        ...


async def read_messages(reader: asyncio.StreamReader, receiver: Receiver) -> None:
    """Until the end of input. A message that cannot be handled costs a line in the log."""
    while True:
        try:
            body = await _body(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        if body is None:
            return
        try:
            message = _decoded(body)
            if isinstance(message, dict) and "jsonrpc" in message:
                receiver.receive(message)
        except Exception as problem:  # whatever one message does, the next one is answered
            log.error("a message could not be handled: %s", type(problem).__name__)  # its text may hold the user's


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return json.loads(body)  # slower, and takes half a surrogate pair, which an editor may send


async def _body(reader: asyncio.StreamReader) -> bytes | None:
    """The next body; None at the end of input, or where the stream can no longer be understood."""
    size_bytes = -1
    while line := await reader.readline():
        if match := _LENGTH.fullmatch(line.rstrip(b"\r\n")):
            size_bytes = int(match[1])
        elif not line.strip() and size_bytes >= 0:
            if size_bytes > MAX_MESSAGE_BYTES:
                log.error("a message of %d bytes cannot be taken", size_bytes)
                return None
            return await reader.readexactly(size_bytes)
    return None


async def stdin_reader(stdin: BinaryIO | None = None) -> asyncio.StreamReader:
    """Standard input as a stream of the running loop. Raises ValueError if it is a plain file."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), stdin or sys.stdin.buffer
    )
    return reader
