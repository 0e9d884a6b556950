"""The path of a keystroke, from a request to an answer. No LSP types, no disk, and nothing here may raise but a cancel.

request → policy → cache → (debounce, context, runtime) or a stream that runs already → postprocess → confidence → answer

A newer request of a document supersedes the older one at once. A running generation is kept as long as the user types along
its text, and stopped by the first edit that leaves it. While a suggestion is visible, what follows it is prepared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import uuid4

from local_runtime.engines.protocol import Sampling
from local_runtime.prompts.hole import Chunk

from .answer import Answer, Request, Source, Suggestion
from .cache import Cache, Said
from .confidence import Confidence
from .cursor import Cursor
from .debounce import Debounce
from .extent import Extent, scope_at
from .generation import Generation, typed_between
from .policy import FileRules, refuse
from .postprocess import Shown, postprocess
from .runtime import Runtime
from .settings import Settings
from .skip import Skip
from .switches import Switches

BLOCK_PATIENCE_MS = 180.0
"""After this, the whole lines of a block that is still being written are shown."""
PAUSE_MS = 200.0
"""Nobody reads and accepts a suggestion faster; whoever types on in that time needs the machine for something else."""
ALTERNATIVE_TEMPERATURE = 0.8
N_LINES_OF_HABIT = 100
MAX_ATTEMPTS = 3
log = logging.getLogger(__name__)


class Context(Protocol):
    """The ground floor's choice of related places."""

    async def related(self, request: Request, deadline_ms: float) -> tuple[Chunk, ...]:
        """Chunks for a place, in a stable order; none if they cannot be had in time."""
        ...


@dataclass(slots=True)
class _Desk:
    """What goes on for one document."""

    work: asyncio.Task[Answer] | None = None
    running: Generation | None = None
    """What is being said at the cursor."""
    ahead: Generation | None = None
    """What is being prepared behind the suggestion."""
    preparing: asyncio.Task[None] | None = None


class Completer:
    """Answers requests. `settings` and `switches` may be exchanged at any time."""

    def __init__(self, runtime: Runtime, context: Context, rules: FileRules, confidence: Confidence) -> None:
        self.settings = Settings()
        self.switches = Switches()
        self.cache = Cache()
        self.debounce = Debounce()
        self._runtime = runtime
        self._context = context
        self._rules = rules
        self._confidence = confidence
        self._desks: dict[str, _Desk] = {}

    async def complete(self, request: Request, is_current: Callable[[], bool]) -> Answer:
        """Answer one request. `is_current` tells whether the document is still in the version that was asked about."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        desk = self._desks.setdefault(request.cursor.uri, _Desk())
        if desk.work is not None:
            desk.work.cancel()
        work = desk.work = loop.create_task(self._answer(request, desk, began))
        try:
            answer = await work
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                work.cancel()
                raise
            answer = Answer(skip=Skip.SUPERSEDED)
        except Exception:  # a fault of ours costs one suggestion, never the server
            log.exception("a request failed")
            answer = Answer(skip=Skip.FAILED)
        if answer.suggestions and not is_current():
            answer = Answer(skip=Skip.STALE)
        if desk.work is work:
            desk.work = None
        return replace(answer, latency_ms=(loop.time() - began) * 1000)

    def is_busy(self, uri: str) -> bool:
        """Whether something is being generated for a document, which an edit may make useless."""
        desk = self._desks.get(uri)
        generations = (desk.running, desk.ahead) if desk is not None else ()
        return any(generation is not None and not generation.done for generation in generations)

    def moved(self, cursor: Cursor) -> None:
        """The document changed and the cursor is likely here: stop what no longer fits, before anybody asks again."""
        desk = self._desks.get(cursor.uri)
        if desk is None:
            return
        if desk.running is not None and not desk.running.follow(cursor):
            self._stop(desk, running=True)
        if (
            desk.ahead is not None
            and desk.ahead.typed_to(cursor) is None
            and typed_between(cursor, desk.ahead.cursor) is None
        ):
            self._stop(desk, ahead=True)

    def accepted(self, request: Request) -> None:
        """A suggestion was accepted, and the cursor stands behind it: have the next one written."""
        desk = self._desks.setdefault(request.cursor.uri, _Desk())
        if self.cache.get(request.cursor, self._runtime.voice) is None and not self._joinable(desk, request.cursor):
            self._prepare(desk, request, after_ms=0)

    def closed(self, uri: str) -> None:
        """The document is gone."""
        desk = self._desks.pop(uri, None)
        if desk is not None:
            self._stop(desk, running=True, ahead=True)
            if desk.work is not None:
                desk.work.cancel()

    def close(self) -> None:
        """Stop everything."""
        for uri in list(self._desks):
            self.closed(uri)

    async def _answer(self, request: Request, desk: _Desk, began: float) -> Answer:
        skip = refuse(request, self.settings, self.switches, self._rules)
        if skip is not None:
            return Answer(skip=skip)
        deadline_ms = self.settings.invoked_deadline_ms if request.invoked else self.settings.deadline_ms
        deadline = began + deadline_ms / 1000
        if (skip := await self._runtime.ready(deadline)) is not None:
            return Answer(skip=skip)
        cursor = request.cursor
        if not request.invoked and (said := self.cache.get(cursor, self._runtime.voice)) is not None:
            shown = self._shown(cursor, said)
            if isinstance(shown, Shown) or said.complete:
                source = Source.TYPED if said.typed else Source.AHEAD if said.ahead else Source.EXACT
                return self._finish(request, desk, said, shown, source=source)
        generation = self._joinable(desk, cursor)
        source = Source.MODEL if generation is None else Source.AHEAD if generation is desk.ahead else Source.STREAM
        if generation is None and not request.invoked:
            self._stop(desk, running=True, ahead=True)
            delay_ms = self.debounce.delay_ms(cursor.line_prefix, self.settings.debounce_ceiling_ms)
            await asyncio.sleep(delay_ms / 1000)
        for _ in range(MAX_ATTEMPTS):
            if generation is None:
                self._stop(desk, running=True, ahead=True)
                chunks = await self._context.related(request, self.settings.context_deadline_ms)
                generation, source = self._generate(desk, cursor, chunks), Source.MODEL
            desk.running, desk.ahead = generation, None if generation is desk.ahead else desk.ahead
            await self._enough(request, generation, deadline)
            if generation.cancelled or generation.fault is not None:
                return Answer(skip=Skip.STALE if generation.fault is None else self._runtime.lost(generation.fault))
            typed = generation.typed_to(cursor)
            if typed is not None and not generation.was_cut:
                return await self._conclude(request, desk, generation, typed, source=source, deadline=deadline)
            generation = None  # it went another way than the user, or the daemon took it for an older one
        return Answer(skip=Skip.DEADLINE)

    async def _enough(self, request: Request, generation: Generation, deadline: float) -> None:
        """Wait until there is enough of a generation to show, or it turns out to lead elsewhere."""
        loop = asyncio.get_running_loop()
        asked = loop.time()

        def left() -> bool:
            return generation.typed_to(request.cursor) is None

        if generation.scope.extent is Extent.BLOCK and not request.invoked:
            await generation.until(left, min(deadline, asked + BLOCK_PATIENCE_MS / 1000))
            n_typed = len(generation.typed_to(request.cursor) or "")
            await generation.until(lambda: left() or "\n" in generation.text[n_typed:].strip(), deadline)
        else:
            await generation.until(left, deadline)
        if generation.text:
            self.debounce.answered((loop.time() - asked) * 1000)

    async def _conclude(
        self, request: Request, desk: _Desk, generation: Generation, typed: str, *, source: Source, deadline: float
    ) -> Answer:
        said = generation.said(typed)
        shown = self._shown(request.cursor, said)
        others = await self._alternatives(request, shown, deadline) if request.invoked else ()
        return self._finish(request, desk, said, shown, source=source, others=others)

    def _shown(self, cursor: Cursor, said: Said) -> Shown | Skip:
        return postprocess(cursor, said.scope, said.text, said.complete, goes_on=bool(said.typed))

    def _finish(
        self,
        request: Request,
        desk: _Desk,
        said: Said,
        shown: Shown | Skip,
        *,
        source: Source,
        others: tuple[Suggestion, ...] = (),
    ) -> Answer:
        """The last decisions: confident enough? And what to do while the user looks at it."""
        if isinstance(shown, Skip):
            if said.complete and shown is Skip.EMPTY:
                self._prepare(desk, replace(request, cursor=_next_line(request.cursor)))
            return Answer(others, source, None) if others else Answer(source=source, skip=shown)
        if not request.invoked and not self._confidence.is_enough(request.cursor.hole.language, said.logprob):
            return Answer(source=source, skip=Skip.LOW_CONFIDENCE)
        if not shown.covers:
            self._prepare(desk, replace(request, cursor=request.cursor.after(shown.text)))
        first = Suggestion(uuid4().hex, shown.text, shown.covers, said.logprob)
        return Answer((first, *others), source)

    async def _alternatives(self, request: Request, first: Shown | Skip, deadline: float) -> tuple[Suggestion, ...]:
        """Other texts for a request made by hand, each different from all before."""
        found: dict[str, Suggestion] = {}
        known = {first.text} if isinstance(first, Shown) else set()
        chunks = await self._context.related(request, self.settings.context_deadline_ms)
        for seed in range(1, self.settings.candidates):
            desk = _Desk()
            generation = self._generate(desk, request.cursor, chunks, seed=seed)
            try:
                await generation.until(lambda: False, deadline)
            finally:
                generation.cancel()
            shown = self._shown(request.cursor, generation.said())
            if isinstance(shown, Shown) and shown.text not in known:
                known.add(shown.text)
                found[shown.text] = Suggestion(uuid4().hex, shown.text, shown.covers, generation.logprob)
        return tuple(found.values())

    def _generate(
        self, desk: _Desk, cursor: Cursor, chunks: tuple[Chunk, ...], *, ahead: bool = False, seed: int | None = None
    ) -> Generation:
        scope = scope_at(cursor, self.settings.max_lines)
        sampling = Sampling(
            max_tokens=self.settings.max_tokens,
            temperature=0.0 if seed is None else ALTERNATIVE_TEMPERATURE,
            top_p=1.0 if seed is None else 0.95,
            seed=seed,
            stop=() if scope.extent is Extent.BLOCK else ("\n",),
        )
        document = cursor.uri if seed is None else f"{cursor.uri}#{seed}"
        pieces = self._runtime.stream(cursor.hole, chunks, sampling, document=document, background=ahead)
        finished = self._keep if seed is None else _ignore
        return Generation(cursor, scope, self._runtime.voice, pieces, finished, ahead=ahead)

    def _keep(self, generation: Generation) -> None:
        """A generation ended: remember what it said, unless it was cut off or the voice has changed meanwhile."""
        if (
            generation.fault is None
            and generation.voice == self._runtime.voice
            and (generation.complete or generation.text)
        ):
            self.cache.put(generation.cursor, generation.voice, generation.said())

    def _joinable(self, desk: _Desk, cursor: Cursor) -> Generation | None:
        """A generation whose text the user types along, in the voice of now."""
        for generation in (desk.running, desk.ahead):
            if generation is None or generation.fault is not None or generation.voice != self._runtime.voice:
                continue
            if (not generation.done or generation.complete) and generation.typed_to(cursor) is not None:
                return generation
        return None

    def _prepare(self, desk: _Desk, request: Request, after_ms: float = PAUSE_MS) -> None:
        """Have what comes at a later place said before it is asked for, once the user pauses to look."""
        if not self.settings.prefetch or self._runtime.missing() is not None:
            return
        if desk.ahead is not None and not desk.ahead.done and desk.ahead.typed_to(request.cursor) is not None:
            return
        self._stop(desk, ahead=True)
        desk.preparing = asyncio.get_running_loop().create_task(self._run_ahead(desk, request, after_ms))

    async def _run_ahead(self, desk: _Desk, request: Request, after_ms: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(after_ms / 1000)
        for _ in range(2):
            if self.cache.get(request.cursor, self._runtime.voice) is None:
                if desk.running is not None:
                    await desk.running.until(lambda: False, loop.time() + 60)
                chunks = await self._context.related(request, self.settings.context_deadline_ms)
                desk.ahead = generation = self._generate(desk, request.cursor, chunks, ahead=True)
                await generation.until(lambda: False, loop.time() + 60)
                if not generation.complete or generation.text.strip():
                    return
            request = replace(request, cursor=_next_line(request.cursor))

    def _stop(self, desk: _Desk, *, running: bool = False, ahead: bool = False) -> None:
        if running and desk.running is not None:
            desk.running.cancel()
            desk.running = None
        if ahead:
            if desk.preparing is not None:
                desk.preparing.cancel()
                desk.preparing = None
            if desk.ahead is not None:
                desk.ahead.cancel()
                desk.ahead = None


def _next_line(cursor: Cursor) -> Cursor:
    """Where the editor puts the cursor after Enter: with the indentation of this line, one deeper behind an opener."""
    line = cursor.line_prefix
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if line.rstrip().endswith((":", "{", "(", "[")):
        indent += "\t" if "\t" in indent else _indent_unit(cursor.hole.prefix)
    return cursor.after("\n" + indent)


def _indent_unit(text: str) -> str:
    """The narrowest indentation near the end of a text; four spaces where there is none."""
    lines = [line for line in text.split("\n")[-N_LINES_OF_HABIT:] if line.strip()]
    if any(line[0] == "\t" for line in lines):
        return "\t"
    widths = [width for line in lines if (width := len(line) - len(line.lstrip(" "))) > 1]
    return " " * min(widths, default=4)


def _ignore(_: Generation) -> None:
    return None
