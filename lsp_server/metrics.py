"""Writes outcomes and answers to `metrics.sqlite` from a thread of its own: a keystroke never waits for a disk."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from local_runtime.records.outcomes import Answer, Fate, Outcome, OutcomeLog, forget

FLUSH_SECONDS = 1.0
HISTORY_SECONDS = 90 * 86_400.0
log = logging.getLogger(__name__)


class Metrics:
    """A queue and the thread behind it. A disk that fails loses numbers, never a keystroke."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[Outcome | Answer | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="metrics", daemon=True)
        self._thread.start()

    def put(self, one: Outcome | Answer) -> None:
        """Have it written soon."""
        self._queue.put(one)

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until all that was put so far is on disk; False if that takes too long."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(seconds)

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._queue.put(None)
        self._thread.join(timeout=5.0)

    def history(self) -> list[tuple[str, float, bool]]:
        """Language, mean log-probability and whether it was taken, of what was seen lately. Reads the disk."""
        try:
            with closing(OutcomeLog(self._path)) as past:
                past.prune()
                outcomes = list(past.outcomes(since=time.time() - HISTORY_SECONDS))
        except (sqlite3.Error, OSError):
            log.exception("the history of suggestions cannot be read")
            return []
        return [(one.language, one.logprob, is_taken(one.fate)) for one in outcomes if one.fate is not Fate.UNSEEN]

    def forget(self, path: Path) -> int:
        """Delete all that is known about a file, what waits here included. Waits for the disk."""
        self.flush()
        return forget(path, self._path)

    def _write(self) -> None:
        going = True
        while going:
            batch = [self._queue.get()]
            deadline = time.monotonic() + FLUSH_SECONDS
            while batch[-1] is not None and not isinstance(batch[-1], threading.Event):
                try:
                    batch.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
                except queue.Empty:
                    break
            going = batch[-1] is not None
            self._store(
                [one for one in batch if isinstance(one, Outcome)], [one for one in batch if isinstance(one, Answer)]
            )
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()

    def _store(self, outcomes: list[Outcome], answers: list[Answer]) -> None:
        if not outcomes and not answers:
            return
        try:
            with closing(OutcomeLog(self._path)) as store:
                store.write(outcomes, answers)
        except (sqlite3.Error, OSError):
            log.exception("statistics cannot be written")


def is_taken(fate: Fate) -> bool:
    """Whether the user wanted the text, by hand or by key."""
    return fate in (Fate.ACCEPTED, Fate.PARTLY, Fate.TYPED)
