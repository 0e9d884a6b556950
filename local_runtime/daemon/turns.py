"""Whose turn it is: round robin over clients, then over the requests of one client; persons before background work."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """A fair queue. `take` gives the next job; whoever is not finished is added again, behind the others."""

    def __init__(self) -> None:
        # Dictionaries keep insertion order: the first client is the next one.
        self._persons: dict[str, deque[Job]] = {}
        self._background: dict[str, deque[Job]] = {}

    def __len__(self) -> int:
        return sum(len(jobs) for lane in (self._persons, self._background) for jobs in lane.values())

    def add(self, job: Job, client: str, *, background: bool) -> None:
        """Queue a job behind its client's others, its client behind the others."""
        (self._background if background else self._persons).setdefault(client, deque()).append(job)

    def take(self) -> Job | None:
        """Remove and return the job whose turn it is."""
        lane = self._persons or self._background
        if not lane:
            return None
        client = next(iter(lane))
        jobs = lane.pop(client)
        job = jobs.popleft()
        if jobs:
            lane[client] = jobs
        return job

    def discard(self, job: Job) -> None:
        """Forget a job, if it is queued."""
        for lane in (self._persons, self._background):
            for client, jobs in list(lane.items()):
                if job in jobs:
                    jobs.remove(job)
                    if not jobs:
                        del lane[client]
                    return
