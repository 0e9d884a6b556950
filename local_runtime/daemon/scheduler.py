"""The engine's one thread: steps the generators of all requests in fair turns, one forward at a time.

An engine runs at most one forward per `next` (its law), so that between two forwards this thread can look up: a person's
request goes before background work, a cancelled one is never stepped again and is closed before the next forward, and
nobody is served twice while another waits. While there is nothing to do the thread sleeps on a condition.

Waking the event loop for each token of a small model would cost more than the token: results that come within `GATHER_SECONDS`
are handed over together.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Generic, TypeVar

from local_runtime.daemon.readiness import Phase, Readiness, Standing
from local_runtime.daemon.turns import Turns
from local_runtime.engines.protocol import Engine
from local_runtime.errors import EngineDied, OutOfMemory, RuntimeFault

T = TypeVar("T")
log = logging.getLogger(__name__)

GATHER_SECONDS = 0.005
"""No result waits longer than this and one forward of its own request."""
FAILURES_TO_GIVE_UP = 3
"""Unexpected exceptions in a row before the engine is called broken."""


class Superseded(Exception):
    """A newer request of the same document took this one's place."""


class _End(Enum):
    END = 0


class Job(Generic[T]):
    """One request's generator. `async for` gives what it yields; leaving `async with` cancels what is left of it."""

    def __init__(
        self, scheduler: Scheduler, steps: Callable[[Engine], Iterator[T]], client: str, document: str, background: bool
    ) -> None:
        self.client = client
        self.document = document
        self.background = background
        self.over = False
        """Finished or cancelled: never stepped again. Guarded by the scheduler's lock."""
        self._scheduler = scheduler
        self._start = steps
        self._steps: Iterator[T] | None = None
        self._loop = asyncio.get_running_loop()
        self._gathered: list[T | _End | Exception] = []
        """Not handed over yet. Guarded by the scheduler's lock."""
        self._handed_over = time.perf_counter()
        self._ending: _End | Exception | None = None
        self._results: asyncio.Queue[list[T | _End | Exception]] = asyncio.Queue()

    async def __aenter__(self) -> Job[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scheduler.cancel(self)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Raise Superseded, or the fault that ended the engine's generator."""
        while results := await self.take():
            for result in results:
                yield result

    async def take(self) -> list[T]:
        """All results that there are, at least one; none at the end. Raises as iterating does."""
        if self._ending is None:
            results: list[Any] = await self._results.get()
            if isinstance(results[-1], _End | Exception):
                self._ending = results.pop()
            if results:
                return results
        if isinstance(self._ending, Exception):
            raise self._ending
        return []

    def step(self, engine: Engine) -> T:
        """Run the engine up to its next result: at most one forward. On the engine's thread alone."""
        if self._steps is None:
            self._steps = self._start(engine)
        return next(self._steps)

    def close(self) -> None:
        """End the generator, so that the engine lets go of its sequence. On the engine's thread alone."""
        if self._steps is not None:
            self._steps.close()  # type: ignore[attr-defined]
            self._steps = None

    def gather(self, result: T | _End | Exception) -> bool:
        """Keep a result; whether it is time to hand over. Under the scheduler's lock."""
        self._gathered.append(result)
        return time.perf_counter() - self._handed_over >= GATHER_SECONDS

    def hand_over(self) -> None:
        """Give what was gathered to the event loop. Under the scheduler's lock. After the loop has closed nobody waits."""
        gathered, self._gathered = self._gathered, []
        self._handed_over = time.perf_counter()
        if gathered and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._results.put_nowait, gathered)


@dataclass(frozen=True, slots=True)
class Load:
    """A look at the scheduler, for metrics."""

    n_waiting: int
    n_forwards: int
    busy_seconds: float


class Scheduler:
    """Opens the engine on its own thread, then serves jobs until `stop`.

    `open_engine` gets a function to report progress through; a fault of it makes the standing `failed`.
    """

    def __init__(self, open_engine: Callable[[Callable[[Standing], None]], Engine], readiness: Readiness) -> None:
        self.engine: Engine | None = None
        self._open = open_engine
        self._readiness = readiness
        self._wake = threading.Condition()
        self._turns: Turns[Job[Any]] = Turns()
        self._newest: dict[tuple[str, str], Job[Any]] = {}
        self._to_close: list[Job[Any]] = []
        self._gathering: Job[Any] | None = None
        """Whose results wait while its next step runs."""
        self._stopping = False
        self._n_forwards = 0
        self._busy_seconds = 0.0
        self._n_failures = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to open the engine."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Cancel everything, close the engine and end the thread; waits for at most `seconds`."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def submit(
        self, steps: Callable[[Engine], Iterator[T]], *, client: str, document: str = "", background: bool = False
    ) -> Job[T]:
        """Queue a generator; an older job of the same client and document is superseded."""
        job = Job(self, steps, client, document, background)
        with self._wake:
            if document:
                older = self._newest.pop((client, document), None)
                if older is not None:
                    self._end(older, Superseded())
                self._newest[client, document] = job
            self._turns.add(job, client, background=background)
            self._wake.notify()
        return job

    def cancel(self, job: Job[Any]) -> None:
        """Never step `job` again, and close it before the next forward. Nothing happens if it is over."""
        with self._wake:
            self._end(job, _End.END)
            self._wake.notify()

    def load(self) -> Load:
        """How much there is to do, and was done."""
        with self._wake:
            return Load(len(self._turns), self._n_forwards, self._busy_seconds)

    def _end(self, job: Job[Any], result: _End | Exception) -> None:
        """Under the lock: take `job` out of everything and tell who waits for it."""
        if job.over:
            return
        job.over = True
        self._turns.discard(job)
        if self._newest.get((job.client, job.document)) is job:
            del self._newest[job.client, job.document]
        self._to_close.append(job)
        job.gather(result)
        job.hand_over()

    def _run(self) -> None:
        try:
            self.engine = self._open(self._readiness.set)
        except RuntimeFault as fault:
            log.error("the engine could not be opened: %s", fault.message)
            self._readiness.set(Standing(Phase.FAILED, fault.message, remedy=fault.remedy))
            return
        except Exception as problem:
            log.exception("the engine could not be opened")
            self._readiness.set(
                Standing(Phase.FAILED, f"the engine could not be opened: {problem!r}", remedy="understudy runtime logs")
            )
            return
        self._readiness.set(Standing(Phase.READY))
        try:
            self._serve(self.engine)
        finally:
            self.engine.close()

    def _serve(self, engine: Engine) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._to_close or len(self._turns))
                if self._stopping:
                    while (waiting := self._turns.take()) is not None:
                        self._end(waiting, EngineDied("the daemon is stopping"))
                to_close, self._to_close = self._to_close, []
                job = self._turns.take()
                if self._gathering is not None and self._gathering is not job:
                    self._gathering.hand_over()
            for ended in to_close:
                ended.close()
            if self._stopping:
                return
            if job is not None:
                self._step(engine, job)

    def _step(self, engine: Engine, job: Job[Any]) -> None:
        if job.over:  # cancelled between its turn and now
            return
        began = time.perf_counter()
        failure: Exception | None = None
        result: Any = _End.END
        try:
            result = job.step(engine)
        except StopIteration:
            pass
        except RuntimeFault as fault:
            failure = fault
        except MemoryError:
            failure = OutOfMemory("there was not enough memory for this request")
        except Exception as problem:
            # Frames without the exception's own words: these may quote a file.
            log.error(
                "the engine failed: %s\n%s", type(problem).__name__, "".join(traceback.format_tb(problem.__traceback__))
            )
            failure = EngineDied(f"the engine failed: {type(problem).__name__}", "understudy runtime logs")
        with self._wake:
            self._busy_seconds += time.perf_counter() - began
            self._n_forwards += 1
            if job.over:
                return
            if failure is not None or result is _End.END:
                self._end(job, failure or _End.END)
            else:
                if job.gather(result):
                    job.hand_over()
                self._gathering = job
                self._turns.add(job, job.client, background=job.background)
        self._judge(failure)

    def _judge(self, failure: Exception | None) -> None:
        """An engine that fails again and again, whoever asks, is not served from any more."""
        self._n_failures = self._n_failures + 1 if isinstance(failure, EngineDied) else 0
        if self._n_failures == FAILURES_TO_GIVE_UP:
            message = f"the engine failed {FAILURES_TO_GIVE_UP} times in a row; the log has the details"
            self._readiness.set(Standing(Phase.FAILED, message, remedy="understudy runtime stop"))
