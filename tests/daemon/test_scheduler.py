"""The laws of the engine's thread, held step by step: every forward waits for the test's permission."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from local_runtime.daemon.readiness import Phase, Readiness
from local_runtime.daemon.scheduler import FAILURES_TO_GIVE_UP, Scheduler, Superseded
from local_runtime.engines.echo import EchoEngine
from local_runtime.engines.protocol import Engine
from local_runtime.errors import EngineDied, ModelMissing

pytestmark = pytest.mark.anyio


class Forwards:
    """Generators that run one forward per permit, and write down what happened in which order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._freed = False
        self._permits = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)

    def steps(self, name: str, n: int = 100) -> Iterator[str]:
        try:
            for i in range(n):
                self._arrived.release()
                assert self._freed or self._permits.acquire(timeout=10)
                self.events.append(f"{name}{i}")
                yield f"{name}{i}"
        finally:
            self.events.append(f"{name} closed")

    async def begun(self) -> None:
        """Wait until the engine is inside a forward."""
        assert await asyncio.to_thread(self._arrived.acquire, timeout=10)

    async def finish(self, n: int = 1) -> None:
        """Let `n` forwards end, and wait until the next one has begun."""
        for _ in range(n):
            self._permits.release()
            await self.begun()

    def free(self) -> None:
        """Let everything run from now on."""
        self._freed = True
        self._permits.release()


@asynccontextmanager
async def scheduling() -> AsyncIterator[tuple[Scheduler, Forwards]]:
    readiness = Readiness(asyncio.get_running_loop())
    scheduler, forwards = Scheduler(lambda report: EchoEngine(), readiness), Forwards()
    scheduler.start()
    assert (await readiness.settled(10)).phase is Phase.READY
    try:
        yield scheduler, forwards
    finally:
        forwards.free()
        await asyncio.to_thread(scheduler.stop)


async def test_a_cancelled_job_is_never_stepped_again_and_closed_before_the_next_forward() -> None:
    async with scheduling() as (scheduler, forwards):
        first = scheduler.submit(lambda _: forwards.steps("a"), client="a")
        await forwards.begun()
        scheduler.submit(lambda _: forwards.steps("b"), client="b")
        scheduler.cancel(first)  # while its forward runs
        await forwards.finish(2)
        assert forwards.events[:3] == ["a0", "a closed", "b0"]


async def test_clients_alternate_forward_by_forward() -> None:
    async with scheduling() as (scheduler, forwards):
        scheduler.submit(lambda _: forwards.steps("a"), client="a")
        await forwards.begun()
        scheduler.submit(lambda _: forwards.steps("b"), client="b")
        await forwards.finish(6)
        assert forwards.events == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_a_keystroke_interrupts_background_work_after_one_forward() -> None:
    async with scheduling() as (scheduler, forwards):
        scheduler.submit(lambda _: forwards.steps("gate"), client="g", background=True)
        await forwards.begun()
        person = scheduler.submit(lambda _: forwards.steps("key", 2), client="k")
        await forwards.finish(4)
        assert forwards.events == ["gate0", "key0", "key1", "key closed", "gate1"]
        assert [result async for result in person] == ["key0", "key1"]


async def test_a_newer_request_of_a_document_supersedes_the_older_one() -> None:
    async with scheduling() as (scheduler, forwards):
        old = scheduler.submit(lambda _: forwards.steps("old"), client="c", document="d")
        await forwards.begun()
        other = scheduler.submit(lambda _: forwards.steps("other", 1), client="c", document="e")
        new = scheduler.submit(lambda _: forwards.steps("new", 1), client="c", document="d")
        forwards.free()
        with pytest.raises(Superseded):
            [result async for result in old]
        assert [result async for result in new] == ["new0"]
        assert [result async for result in other] == ["other0"]
        assert "old1" not in forwards.events


async def test_same_document_name_of_another_client_is_another_document() -> None:
    async with scheduling() as (scheduler, forwards):
        forwards.free()
        jobs = [scheduler.submit(lambda _: forwards.steps("x", 3), client=client, document="d") for client in "ab"]
        for job in jobs:
            assert len([result async for result in job]) == 3


async def test_leaving_the_block_cancels() -> None:
    async with scheduling() as (scheduler, forwards):
        async with scheduler.submit(lambda _: forwards.steps("a"), client="a"):
            await forwards.begun()
        last = scheduler.submit(lambda _: forwards.steps("b", 1), client="b")
        forwards.free()
        assert [result async for result in last] == ["b0"]
        assert forwards.events == ["a0", "a closed", "b0", "b closed"]


async def test_an_unexpected_exception_is_the_requests_fault_alone() -> None:
    def broken(_: Engine) -> Iterator[str]:
        yield "one"
        raise RuntimeError("with a word of the user's file")

    async with scheduling() as (scheduler, forwards):
        results = []
        with pytest.raises(EngineDied, match="RuntimeError") as caught:
            async for result in scheduler.submit(broken, client="a"):
                results.append(result)
        assert results == ["one"]
        assert "user's file" not in str(caught.value)
        forwards.free()
        assert [r async for r in scheduler.submit(lambda _: forwards.steps("b", 1), client="b")] == ["b0"]


async def test_an_engine_that_fails_again_and_again_is_given_up() -> None:
    def broken(_: Engine) -> Iterator[str]:
        raise RuntimeError
        yield ""

    readiness = Readiness(asyncio.get_running_loop())
    scheduler = Scheduler(lambda report: EchoEngine(), readiness)
    scheduler.start()
    await readiness.settled(10)
    for n in range(FAILURES_TO_GIVE_UP):
        assert readiness.standing.phase is Phase.READY, n
        with pytest.raises(EngineDied):
            [r async for r in scheduler.submit(broken, client="a")]
    await asyncio.to_thread(scheduler.stop)
    assert readiness.standing.phase is Phase.FAILED


async def test_an_engine_that_cannot_be_opened_says_why() -> None:
    def opening(report: object) -> Engine:
        raise ModelMissing("no such model", "understudy model list")

    readiness = Readiness(asyncio.get_running_loop())
    scheduler = Scheduler(opening, readiness)
    scheduler.start()
    standing = await readiness.settled(10)
    assert (standing.phase, standing.message, standing.remedy) == (
        Phase.FAILED,
        "no such model",
        "understudy model list",
    )
    await asyncio.to_thread(scheduler.stop)


async def test_stopping_ends_what_runs_and_closes_the_engine() -> None:
    async with scheduling() as (scheduler, forwards):
        running = scheduler.submit(lambda _: forwards.steps("a", 10**9), client="a")
        waiting = scheduler.submit(lambda _: forwards.steps("b", 10**9), client="b")
        await forwards.begun()
        stopping = asyncio.create_task(asyncio.to_thread(scheduler.stop))
        forwards.free()
        for job in (running, waiting):
            with pytest.raises(EngineDied, match="stopping"):
                [r async for r in job]
        await stopping
        assert isinstance(scheduler.engine, EchoEngine)
        assert scheduler.engine.closed
