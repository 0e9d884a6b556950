"""One stream of the model for one place. Any number of requests may read it while it grows; it outlives a request that was
cancelled, so that whoever types along the text need not ask again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from local_runtime.engines.protocol import Piece, Stop
from local_runtime.errors import RuntimeFault

from .cache import Said, Voice
from .cursor import Cursor
from .extent import Scope

N_COMPARED_CHARS = 2_000
N_COMPARED_LINES = 8


class Generation:
    """Reads a stream to the scope's end, then closes it. `finished` is called once, however it ends."""

    def __init__(
        self,
        cursor: Cursor,
        scope: Scope,
        voice: Voice,
        pieces: AsyncGenerator[Piece, None],
        finished: Callable[[Generation], None],
        *,
        ahead: bool = False,
    ) -> None:
        self.cursor = cursor
        self.scope = scope
        self.voice = voice
        self.ahead = ahead
        self.text = ""
        self.complete = False
        self.done = False
        self.fault: RuntimeFault | None = None
        self.cancelled = False
        self._followed: Cursor | None = None
        self._ended = False
        self._logprobs: list[float] = []
        self._finished = finished
        self._grown = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._read(pieces))

    @property
    def logprob(self) -> float:
        """Mean log-probability per token so far, nats."""
        return sum(self._logprobs) / len(self._logprobs) if self._logprobs else 0.0

    @property
    def was_cut(self) -> bool:
        """Ended by the daemon before it said anything: a newer request of the document came, or so it seemed there."""
        return self.done and not self.complete and not self.text and self.fault is None

    def said(self, typed: str = "") -> Said:
        """What has been said so far, behind `typed`."""
        return Said(self.text[len(typed) :], self.complete, self.scope, self.logprob, typed, self.ahead)

    def typed_to(self, cursor: Cursor) -> str | None:
        """What the user typed since of this text, or may have: None if the place is another one or the text goes elsewhere."""
        typed = typed_between(self.cursor, cursor)
        if typed is None or not (self.text.startswith(typed) or (not self.done and typed.startswith(self.text))):
            return None
        return typed

    def follow(self, cursor: Cursor) -> bool:
        """The cursor is here now: go on while the text leads there, now and with every further word; False if it does not."""
        self._followed = cursor
        return self.typed_to(cursor) is not None

    async def until(self, enough: Callable[[], bool], deadline: float) -> None:
        """Wait until `enough()`, the end of the stream, or `deadline` (the event loop's time)."""
        try:
            async with asyncio.timeout_at(deadline):
                while not self.done and not enough():
                    await self._grown.wait()
        except TimeoutError:
            pass

    def cancel(self) -> None:
        """Stop at once: the daemon sees the connection close and begins no further forward.

        Only once: a second cancel would strike while the connection is being closed, and leave it open.
        """
        if self.done:
            return
        self.cancelled = True
        self._task.cancel()
        self.done = True  # a task that has not begun yet never will, and could not tell
        self._tell()

    async def _read(self, pieces: AsyncGenerator[Piece, None]) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._take(piece)
                    if self.done and piece.stop is None:
                        break  # closes the stream: the daemon begins no further forward
        except RuntimeFault as fault:
            if not self.done:
                self.fault = fault
        finally:
            self._end()

    def _take(self, piece: Piece) -> None:
        """A stream that has stopped is still read to its end, so that its connection can be used again; nobody waits for that."""
        self.text += piece.text
        self._logprobs += piece.logprobs
        self.complete = self.complete or piece.stop in (Stop.END, Stop.TEXT) or self.scope.end(self.text) is not None
        if self.complete or piece.stop is not None:
            self._end()
        elif self._followed is not None and self.typed_to(self._followed) is None:
            self._end()  # not cancelled: who waits for it asks anew
        elif piece.text:
            self._tell()

    def _end(self) -> None:
        if not self._ended:
            self._ended = self.done = True
            self._tell()
            self._finished(self)

    def _tell(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


def typed_between(before: Cursor, now: Cursor) -> str | None:
    """What was inserted at `before` to arrive at `now`; None if anything else near it changed."""
    n_lines = now.position.line - before.position.line
    if before.uri != now.uri or n_lines < 0 or before.n_lines_below != now.n_lines_below:
        return None
    first, *others = now.hole.prefix.split("\n")[-n_lines - 1 :]
    if not first.startswith(before.line_prefix):
        return None
    typed = "\n".join([first[len(before.line_prefix) :], *others])
    above = now.hole.prefix[: len(now.hole.prefix) - len(typed)][-N_COMPARED_CHARS:]
    if not before.hole.prefix.endswith(above) and not above.endswith(before.hole.prefix):
        return None
    if _below(before) != _below(now):
        return None
    closed = typed and now.line_suffix.endswith(before.line_suffix)  # the editor may have put a closing bracket there
    return typed if now.line_suffix == before.line_suffix or closed else None


def _below(cursor: Cursor) -> list[str]:
    return cursor.hole.suffix.split("\n", N_COMPARED_LINES + 1)[1 : N_COMPARED_LINES + 1]
