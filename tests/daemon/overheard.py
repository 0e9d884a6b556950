"""What reached the prompting: the far end of every dialect."""

from __future__ import annotations

from collections.abc import Sequence

from daemon_in_process import Daemon

from local_runtime.engines.protocol import Prompt
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.prompts.prompting import BytePrompting


class Overheard(BytePrompting):
    """Remembers what it was asked, in order."""

    def __init__(self) -> None:
        self.holes: list[Hole] = []
        self.chunks: list[tuple[Chunk, ...]] = []
        self.plain_texts: list[str] = []

    def hole(self, hole: Hole, chunks: Sequence[Chunk], budget_tokens: int) -> Prompt:
        self.holes.append(hole)
        self.chunks.append(tuple(chunks))
        return super().hole(hole, chunks, budget_tokens)

    def plain(self, text: str, budget_tokens: int) -> Prompt:
        self.plain_texts.append(text)
        return super().plain(text, budget_tokens)


def overhear(daemon: Daemon) -> Overheard:
    """Listen from now on."""
    heard = Overheard()
    daemon.service.prompting = heard
    return heard
