"""Requests made by a machine from our own description: every answer is one that the description promises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_in_process import running, write_adapter

from local_runtime.daemon.openapi import OPERATIONS, document

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.slow]


def test_the_description_has_every_route() -> None:
    paths = document()["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == {o[:2] for o in OPERATIONS}


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    """A daemon on a thread of its own."""
    write_adapter("mine")
    found: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running() as daemon:
            found.append(f"http://127.0.0.1:{daemon.port}")
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)
            # Having been fuzzed, it still completes.
            assert (await daemon.post("/v1/completions", prompt="x")).status_code == 200

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    over.set()
    thread.join(10)
