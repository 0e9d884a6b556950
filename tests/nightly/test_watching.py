"""Whether somebody watches: true for a watcher's whole life, however long its night takes, and not a moment longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from night_worlds import AWAY

from trainer.nightly import watching
from trainer.nightly.clock import Clock
from trainer.nightly.events import Event
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Stage
from trainer.nightly.watching import WatcherBusy, is_watching, watch_and_train


@contextmanager
def a_watcher() -> Iterator[subprocess.Popen[str]]:
    """`understudy learn watch`, which watches."""
    command = [sys.executable, "-P", "-m", "trainer.nightly"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("watching nothing yet" in line for line in process.stderr)
            yield process
        finally:
            process.kill()


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_watcher_is_seen_for_as_long_as_it_lives(number: signal.Signals) -> None:
    assert not is_watching()
    with a_watcher() as process:
        assert is_watching()
        os.kill(process.pid, number)
        process.wait()
        assert not is_watching()


@pytest.mark.e2e
def test_a_second_watcher_is_refused() -> None:
    with a_watcher() as process, pytest.raises(WatcherBusy, match=f"another watcher is running: process {process.pid}"):
        watch_and_train(threading.Event())


def test_it_is_seen_through_a_night_that_is_longer_than_any_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock does not look while a night runs."""
    stop = threading.Event()
    seen: list[bool] = []

    def night() -> Iterator[Event]:
        monkeypatch.setattr("time.time", lambda: 4e9)
        seen.append(is_watching())
        stop.set()
        yield Event(Stage.DONE, "done")

    monkeypatch.setattr("trainer.nightly.clock.against_a_night", lambda *_: [])
    monkeypatch.setattr(
        watching, "Clock", lambda *_, stop, **_others: Clock(LearnOptions(), lambda: AWAY, night, stop=stop)
    )
    watch_and_train(stop)
    assert seen == [True]
    assert not is_watching()
