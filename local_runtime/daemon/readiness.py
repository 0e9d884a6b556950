"""Where the engine stands: loading, compiling, ready, failed or stopping; and waiting for that to change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What the daemon can do right now."""

    LOADING = "loading"
    COMPILING = "compiling"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"

    @property
    def waiting(self) -> bool:
        """Whether readiness is still to be expected."""
        return self in (Phase.LOADING, Phase.COMPILING)


@dataclass(frozen=True, slots=True)
class Standing:
    """A phase and what there is to say about it."""

    phase: Phase = Phase.LOADING
    message: str = ""
    progress: float | None = None
    """0 to 1."""
    remedy: str | None = None


class Readiness:
    """The current standing. Set from any thread, awaited on the event loop it was made for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = asyncio.Event()
        self.standing = Standing()

    def set(self, standing: Standing) -> None:
        """Replace the standing and wake who waits for it. Callable from any thread, also after the loop has closed."""
        self.standing = standing
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def settled(self, seconds: float) -> Standing:
        """The standing once it is no longer loading or compiling, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self.standing.phase.waiting:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.standing
