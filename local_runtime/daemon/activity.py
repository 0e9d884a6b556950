"""When somebody last asked: the daemon ends itself by it, and the trainer waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Activity:
    """Counts requests that run, and remembers when the last one ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._last_person = self._last = clock()
        self._persons = self._all = 0

    @contextmanager
    def request(self, *, background: bool) -> Iterator[None]:
        """A request runs inside."""
        self._all += 1
        self._persons += not background
        try:
            yield
        finally:
            self._all -= 1
            self._persons -= not background
            self._last = self._clock()
            if not background:
                self._last_person = self._last

    @property
    def person_idle_seconds(self) -> float:
        """Since the last request of a person ended; 0 while one runs."""
        return 0.0 if self._persons else self._clock() - self._last_person

    @property
    def idle_seconds(self) -> float:
        """Since the last request of anybody ended; 0 while one runs."""
        return 0.0 if self._all else self._clock() - self._last

    @property
    def uptime_seconds(self) -> float:
        """Since the daemon began."""
        return self._clock() - self._began
