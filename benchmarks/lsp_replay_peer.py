"""llama.vim as its sources have it: what it sends, when, and what it shows. Where llama.cpp runs is an argument.

What is theirs and kept: 256 lines above and 64 below; on a line of white space alone the place is the line's start; 16 chunks
of 32 lines; 128 tokens, cut after 250 ms once there is a new line (1000 ms for the speculative request for what follows the
shown text); a cache of 250 results that is searched back by up to 128 typed characters; while a request runs, the next key
tries again after 100 ms; no automatic request with more than 8 characters right of the cursor. What Vim itself costs is
left out.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from lsp_replay_typist import Scene

N_PREFIX_LINES, N_SUFFIX_LINES = 256, 64
N_PREDICT = 128
FIRST_BOX_MS, SPECULATIVE_BOX_MS = 250.0, 1000.0
N_CHUNKS, CHUNK_LINES = 16, 32
N_RESULTS, N_BACK = 250, 128
RETRY_MS = 100.0
MAX_RIGHT_CHARS = 8


@dataclass(frozen=True, slots=True)
class Infill:
    """What llama.vim asks: the texts of a place, and for how long."""

    above: str
    """Lines above the cursor's, each with its end."""
    line: str
    """The cursor's line up to the cursor."""
    below: str
    """The rest of the line, and the lines below."""
    chunks: tuple[tuple[str, str], ...]
    """Path and text."""
    n_indent: int
    """A line that is indented less ends the completion."""
    box_ms: float


class LlamaCpp(Protocol):
    """A model in llama.cpp."""

    name: str

    async def complete(self, infill: Infill) -> str:
        """The text that llama.cpp gives."""
        ...


class LlamaVim:
    """The client. `answers[key]` is (milliseconds, text, from the cache) of each key that was answered before the next one."""

    def __init__(self, llama_cpp: LlamaCpp, scene: Scene) -> None:
        self.answers: dict[int, tuple[float, str, bool]] = {}
        self._llama_cpp = llama_cpp
        self._results: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._job: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._key, self._key_at = -1, 0.0
        self._before, self._after = scene.before, scene.after
        self._chunks = tuple(
            (path, "\n".join(lines[start : start + CHUNK_LINES]))
            for path, text in scene.neighbours
            for lines in [text.split("\n")]
            for start in range(0, min(len(lines), N_CHUNKS // 2 * CHUNK_LINES), CHUNK_LINES)
        )[:N_CHUNKS]

    async def warm(self) -> None:
        """The background request that fills the KV cache while the user does nothing."""
        await self._llama_cpp.complete(self._infill(self._before, 0.0))

    def key(self, number: int, before: str) -> None:
        """A key was pressed."""
        self._key, self._key_at, self._before = number, time.perf_counter(), before
        if self._show(cached=True) is None:
            self._request()

    async def idle(self) -> None:
        """Wait for what still runs."""
        if self._retry:
            self._retry.cancel()
        while self._job is not None:
            await self._job

    def _request(self) -> None:
        if len(self._after.partition("\n")[0]) > MAX_RIGHT_CHARS:
            return
        if self._retry:
            self._retry.cancel()
        if self._job is not None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_MS / 1000, self._again)
            return
        self._job = asyncio.create_task(self._run(self._before, FIRST_BOX_MS))

    def _again(self) -> None:
        if self._show(cached=True) is None:
            self._request()

    async def _run(self, before: str, box_ms: float) -> None:
        text = await self._llama_cpp.complete(self._infill(before, box_ms))
        self._results[self._place(before)] = text
        while len(self._results) > N_RESULTS:
            self._results.popitem(last=False)
        self._job = None
        shown = self._show(cached=False) if box_ms == FIRST_BOX_MS else None
        if shown:
            self._job = asyncio.create_task(self._run(self._before + shown, SPECULATIVE_BOX_MS))

    def _show(self, cached: bool) -> str | None:
        """Show what the cache has for this place; None if it has nothing."""
        start, after = self._place(self._before)
        for n_back in range(min(N_BACK, len(start)) + 1):
            text = self._results.get((start[: len(start) - n_back], after))
            typed = start[len(start) - n_back :]
            if text is not None and text.startswith(typed) and (len(text) > n_back or not n_back):
                shown = self._beside_indent(text[n_back:])
                if self._key not in self.answers:
                    self.answers[self._key] = ((time.perf_counter() - self._key_at) * 1000, shown, cached)
                return shown
        return None

    def _place(self, before: str) -> tuple[str, str]:
        """What a result is known by. A line of white space counts as empty."""
        line = before.rpartition("\n")[2]
        if not line.strip() and not self._after.partition("\n")[0].strip():
            before = before[: len(before) - len(line)]
        return before, self._after

    def _beside_indent(self, text: str) -> str:
        """Without the white space that stands before the cursor already, on a line of nothing else."""
        line = self._before.rpartition("\n")[2]
        if line.strip():
            return text
        return text[min(len(line), len(text) - len(text.lstrip(" \t"))) :]

    def _infill(self, before: str, box_ms: float) -> Infill:
        start, after = self._place(before)
        above, _, line = start.rpartition("\n")
        return Infill(
            above="\n".join(above.split("\n")[-N_PREFIX_LINES:]) + "\n",
            line=line,
            below="\n".join(after.split("\n")[: N_SUFFIX_LINES + 1]) + "\n",
            chunks=self._chunks,
            n_indent=len(line) - len(line.lstrip(" \t")),
            box_ms=box_ms,
        )
