"""What a request becomes: a prompt within the context, an adapter, and a job for the engine. Knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import TypeVar

from local_runtime.adapters.shelf import AdapterShelf, Choice
from local_runtime.client.wire import MAX_TOKENS, CompletionRequest, Place, ScoreRequest
from local_runtime.daemon.activity import Activity
from local_runtime.daemon.line_limits import LineLimits
from local_runtime.daemon.metrics import Metrics
from local_runtime.daemon.readiness import Phase, Readiness
from local_runtime.daemon.scheduler import Job, Scheduler
from local_runtime.engines.protocol import Engine, EngineModel, Keeping, Merging, Piece, Prompt, Sampling, TokenScore
from local_runtime.errors import BadRequest, NotReady, OtherBase
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.prompts.prompting import Prompting, Target

T = TypeVar("T")
DEFAULT_MAX_TOKENS = 64
MIN_PROMPT_TOKENS = 64
"""A prompt is left at least this much of the context, however long the target is."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A completion that runs: pieces come with the index of their choice."""

    job: Job[tuple[int, Piece]]
    prompt: Prompt
    choice: Choice
    sampling: Sampling
    began: float
    """`time.perf_counter` at the request's arrival."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """A score that runs."""

    job: Job[TokenScore]
    prompt: Prompt
    target: Target
    choice: Choice


class Service:
    """Joins scheduler, prompting and adapters. `prompting` is set before the standing becomes ready."""

    def __init__(
        self, readiness: Readiness, scheduler: Scheduler, shelf: AdapterShelf, metrics: Metrics, activity: Activity
    ) -> None:
        self.readiness = readiness
        self.scheduler = scheduler
        self.shelf = shelf
        self.metrics = metrics
        self.activity = activity
        self.prompting: Prompting | None = None
        self.remote: str | None = None
        """The host that prompts are sent to, if the engine is elsewhere."""
        # Tokenizing any text and hashing adapters take milliseconds that would stall everyone's streams on the event loop.
        self._workers = ThreadPoolExecutor(2, "prompts")

    def close(self) -> None:
        """End the worker threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    @property
    def model(self) -> EngineModel | None:
        """What is served, once the engine is open."""
        return self.scheduler.engine.model if self.scheduler.engine else None

    def ready(self) -> EngineModel:
        """The model that answers. Raises NotReady while there is none."""
        return self._ready(None)[0]

    async def away(self, work: Callable[[], T]) -> T:
        """Run something slow on a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    @asynccontextmanager
    async def complete(self, request: CompletionRequest) -> AsyncIterator[Generation]:
        """Queue a completion; leaving the block cancels it. Raises BadRequest, AdapterInvalid, NotReady."""
        began = time.perf_counter()
        model, prompting = self._ready(request.model)
        n_wanted = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
        n_tokens = max(1, min(n_wanted, MAX_TOKENS, model.context_tokens // 2))
        budget_tokens = model.context_tokens - n_tokens
        if _is_quick(request):
            choice, prompt = self._prepare(request, prompting, budget_tokens)
        else:
            choice, prompt = await self.away(lambda: self._prepare(request, prompting, budget_tokens))
        if request.stop_token_ids:
            prompt = replace(prompt, stop_ids=prompt.stop_ids.union(request.stop_token_ids))
        sampling = Sampling(
            n_tokens, request.temperature, request.top_p, request.seed, _stops(request.stop), request.speculate
        )
        steps = _choices(prompt, sampling, choice, request)
        async with self._submit(request, steps) as job:
            yield Generation(job, prompt, choice, sampling, began)

    @asynccontextmanager
    async def score(self, request: ScoreRequest) -> AsyncIterator[Scoring]:
        """Queue a score; leaving the block cancels it. Raises BadRequest, AdapterInvalid, NotReady."""
        model, prompting = self._ready(request.model)

        def prepare() -> tuple[Choice, Prompt, Target]:
            # As for a completion: what is judged is the prompt that is served. A long target then takes its room from it.
            choice, prompt = self._prepare(request, prompting, model.context_tokens - DEFAULT_MAX_TOKENS)
            target = _target(request, prompting, prompt)
            room = model.context_tokens - len(target.token_ids)
            if room < MIN_PROMPT_TOKENS:
                raise BadRequest(
                    f"the target has {len(target.token_ids)} tokens; {model.name} has a context of {model.context_tokens}"
                )
            if len(prompt.token_ids) > room:
                choice, prompt = self._prepare(request, prompting, room)
                target = _target(request, prompting, prompt)
            return choice, prompt, target

        choice, prompt, target = await self.away(prepare)
        if not target.token_ids:
            raise BadRequest("the target is empty")

        def steps(engine: Engine) -> Iterator[TokenScore]:
            return engine.score(prompt, target.token_ids, choice.adapter, choice.strength)

        async with self._submit(request, steps) as job:
            yield Scoring(job, prompt, target, choice)

    async def select(self, wanted: Callable[[], Choice], base_hash: str | None = None) -> None:
        """Make a choice the active one; nothing changes if its adapter does not fit.

        `wanted` reads files. Raises OtherBase unless the model has that base (None: any), and what `wanted` raises.
        """
        model, _ = self._ready(None)
        if base_hash not in (None, model.base_hash):
            raise OtherBase(f"the model that is served, {model.name}, has another base")

        def choose() -> tuple[Choice, bool]:
            # Each hop between threads may wait for the engine's: what is at hand is chosen in one.
            choice = wanted()
            if at_hand := self._is_at_hand(choice):
                self.shelf.activate(choice, model.base_hash)
            return choice, at_hand

        choice, at_hand = await self.away(choose)
        if not at_hand:
            await self._prove(choice)
            await self.away(lambda: self.shelf.activate(choice, model.base_hash))
        self.metrics.swaps.inc()

    def _is_at_hand(self, choice: Choice) -> bool:
        """Whether the engine can serve a choice without reading anything."""
        engine = self.scheduler.engine
        if isinstance(engine, Merging):
            return False
        return choice.adapter is None or (isinstance(engine, Keeping) and engine.keeps(choice.adapter))

    async def _prove(self, choice: Choice) -> None:
        """Have the engine show that an adapter fits. Raises AdapterInvalid."""
        if isinstance(self.scheduler.engine, Merging):
            merging = self.scheduler.engine
            async with self.scheduler.submit(
                lambda _engine: merging.prepare(choice.adapter, choice.strength), client="adapters"
            ) as steps:
                async for _step in steps:
                    pass
        elif choice.adapter is not None:
            probe = Prompt((0,))
            async with self.scheduler.submit(
                lambda e: e.score(probe, (0,), choice.adapter, choice.strength), client="adapters"
            ) as job:
                async for _score in job:
                    pass

    def _ready(self, model_name: str | None) -> tuple[EngineModel, Prompting]:
        standing = self.readiness.standing
        if standing.phase is not Phase.READY or self.model is None or self.prompting is None:
            raise NotReady(standing.message or f"the model is {standing.phase.value}", standing.remedy)
        if model_name and model_name != self.model.name:
            raise BadRequest(
                f"model {model_name[:64]!r} is not served; {self.model.name!r} is", "understudy model list"
            )
        return self.model, self.prompting

    def _prepare(self, place: Place, prompting: Prompting, budget_tokens: int) -> tuple[Choice, Prompt]:
        choice = self.shelf.choose(place.adapter, place.strength)
        return choice, _prompt(place, prompting, budget_tokens)

    @asynccontextmanager
    async def _submit(self, place: Place, steps: Callable[[Engine], Iterator[T]]) -> AsyncIterator[Job[T]]:
        background = place.priority == "background"
        # Who does not say who they are is a client of their own.
        client = place.user or f"#{id(place)}"
        with self.activity.request(background=background):
            async with self.scheduler.submit(
                steps, client=client, document=place.document, background=background
            ) as job:
                yield job


def _is_quick(place: Place) -> bool:
    """Whether preparing reads no file and a bounded text: less work than having a thread do it, and the same at each key."""
    return place.adapter is None and isinstance(place.prompt, str) and place.suffix is not None


def _prompt(place: Place, prompting: Prompting, budget_tokens: int) -> Prompt:
    sequence = f"{place.user}\0{place.document}" if place.document else ""
    if isinstance(place.prompt, list):
        if place.suffix is not None or place.context:
            raise BadRequest("a prompt of token ids cannot have a suffix or context: give it as text")
        ids = tuple(i for i in place.prompt if isinstance(i, int))
        if len(ids) == len(place.prompt) and ids:
            return Prompt(ids[-budget_tokens:], sequence=sequence)
        if len(place.prompt) != 1 or not isinstance(place.prompt[0], str):
            raise BadRequest("prompt is a list of several texts: one request takes one prompt, as text or as token ids")
        text = place.prompt[0]
    else:
        text = place.prompt
    if place.suffix is None and not place.context:
        prompt = prompting.plain(text, budget_tokens)
    else:
        chunks = [Chunk(chunk.path, chunk.text) for chunk in place.context or ()]
        prompt = prompting.hole(Hole(place.path, place.language, text, place.suffix or ""), chunks, budget_tokens)
    return Prompt(prompt.token_ids, prompt.stop_ids, prompt.healed, sequence)


def _target(request: ScoreRequest, prompting: Prompting, prompt: Prompt) -> Target:
    if isinstance(request.target, str):
        return prompting.target(prompt, request.target, request.end)
    return Target(tuple(request.target), ended=False)


def _choices(
    prompt: Prompt, sampling: Sampling, choice: Choice, request: CompletionRequest
) -> Callable[[Engine], Iterator[tuple[int, Piece]]]:
    def steps(engine: Engine) -> Iterator[tuple[int, Piece]]:
        for index in range(request.n):
            # Each choice of a seeded request has a seed of its own, or all would be the same.
            seed = None if sampling.seed is None else (sampling.seed + index) % (1 << 63)
            own = Sampling(
                sampling.max_tokens, sampling.temperature, sampling.top_p, seed, sampling.stop, sampling.speculate
            )
            limits = LineLimits(request.predict_ms, request.min_indent)
            with closing(engine.stream(prompt, own, choice.adapter, choice.strength)) as pieces:  # type: ignore[type-var]
                for piece in pieces:
                    allowed = limits.cut(piece)
                    yield index, allowed
                    if allowed is not piece:
                        break

    return steps


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
