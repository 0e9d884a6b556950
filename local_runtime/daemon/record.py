"""One log line and one set of numbers per request, however it ends. Never a text or a path of the user's."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from local_runtime.client.wire import CompletionReply, Place
from local_runtime.daemon.http import HungUp, as_problem
from local_runtime.daemon.metrics import Metrics, Outcome
from local_runtime.daemon.scheduler import Superseded

log = logging.getLogger(__name__)


class Record:
    """The account of one request; the first ending counts."""

    def __init__(self, metrics: Metrics, kind: str) -> None:
        self._metrics = metrics
        self._kind = kind
        self._priority = "person"
        self._began = time.perf_counter()
        self._ended = False

    def about(self, place: Place) -> None:
        """What the request says about itself."""
        self._priority = place.priority

    def completed(self, outcome: Outcome, reply: CompletionReply) -> None:
        """A completion ended in an orderly way."""
        if reply.usage and reply.timings:
            self._metrics.tokens.labels("prompt").inc(reply.usage.prompt_tokens)
            self._metrics.tokens.labels("completion").inc(reply.usage.completion_tokens)
            if outcome is Outcome.OK:
                self._metrics.first_token.labels(self._priority).observe(reply.timings.first_token_ms / 1000)
            n_tokens = f"{reply.usage.prompt_tokens}+{reply.usage.completion_tokens} tokens"
        else:
            n_tokens = "no tokens"
        self.ended(outcome, f"{n_tokens}, adapter {reply.adapter_id or 'none'} x {reply.strength:g}")

    def ended(self, outcome: Outcome, details: str = "") -> None:
        """The request is over."""
        if self._ended:
            return
        self._ended = True
        seconds = time.perf_counter() - self._began
        self._metrics.requests.labels(self._kind, outcome.value).inc()
        if outcome is Outcome.OK:
            self._metrics.total.labels(self._kind, self._priority).observe(seconds)
        log.info("%s %s %s in %.1f ms %s", self._priority, self._kind, outcome.value, seconds * 1000, details)

    def failed(self, error: BaseException) -> None:
        """The request ended with an exception."""
        if isinstance(error, HungUp | asyncio.CancelledError | GeneratorExit):
            self.ended(Outcome.HUNG_UP)
        elif isinstance(error, Superseded):
            self.ended(Outcome.SUPERSEDED)
        elif isinstance(error, Exception):
            problem = as_problem(error)
            outcome = (
                Outcome.REFUSED
                if problem.status < 500
                else Outcome.NOT_READY
                if problem.status == 503
                else Outcome.FAILED
            )
            self.ended(outcome, f"status {problem.status}")

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Whatever is raised inside is put on record and raised again."""
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise
