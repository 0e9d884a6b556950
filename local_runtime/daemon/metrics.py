"""What `/metrics` tells Prometheus. Numbers only: never a path, never a text."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    HUNG_UP = "hung_up"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    NOT_READY = "not_ready"
    FAILED = "failed"


@runtime_checkable
class Paged(Protocol):
    """An engine that tells how full its KV cache is."""

    @property
    def kv_pages(self) -> tuple[int, int]:
        """Pages in use, and all pages."""
        ...


class Metrics:
    """One registry per daemon, so that tests can have several in a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self.requests = Counter("understudy_requests", "Requests by kind and outcome", ["kind", "outcome"], registry=r)
        self.tokens = Counter("understudy_tokens", "Tokens of prompts and of answers", ["kind"], registry=r)
        self.first_token = Histogram(
            "understudy_first_token_seconds", "Request to first token", ["priority"], buckets=SECONDS, registry=r
        )
        self.total = Histogram(
            "understudy_request_seconds", "Request to last token", ["kind", "priority"], buckets=SECONDS, registry=r
        )
        self.waiting = Gauge("understudy_requests_waiting", "Requests waiting for their turn", registry=r)
        self.forwards = Gauge("understudy_forwards", "Turns of the engine since start", registry=r)
        self.busy = Gauge("understudy_engine_busy_seconds", "Time the engine worked since start", registry=r)
        self.kv_pages = Gauge("understudy_kv_pages", "Pages of the KV cache", ["state"], registry=r)
        self.swaps = Counter("understudy_adapter_swaps", "Adapters activated", registry=r)
        self.idle = Gauge("understudy_idle_seconds", "Since the last request of a person", registry=r)

    def look_at(self, engine: object) -> None:
        """Take over what an engine tells of itself, if it does."""
        if isinstance(engine, Paged):
            used, pages = engine.kv_pages
            self.kv_pages.labels("used").set(used)
            self.kv_pages.labels("free").set(pages - used)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
