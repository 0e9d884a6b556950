"""A daemon with a scripted echo engine, and asynchronous tests as plain functions."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from echo_daemon import EchoDaemon

from local_runtime.client import lifecycle


@pytest.fixture
def daemon(home: Path) -> Iterator[EchoDaemon]:
    yield EchoDaemon(home)
    lifecycle.kill()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "w"
    folder.mkdir()
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """`async def test_…` runs in an event loop of its own, unless its module leaves that to a plugin."""
    if not isinstance(collector, pytest.Module) or collector.get_closest_marker("asyncio"):
        return
    if name.startswith("test_") and inspect.iscoroutinefunction(obj):
        setattr(collector.obj, name, _in_a_loop(obj))


def _in_a_loop(story: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(story)
    def test(*arguments: Any, **named: Any) -> None:
        asyncio.run(story(*arguments, **named))

    return test
