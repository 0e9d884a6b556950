"""All other routes: scores, models, adapters, health, metrics, and the end."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from local_runtime import __version__
from local_runtime.adapters.shelf import Choice, mix_name
from local_runtime.client.wire import (
    ActiveAdapter,
    AdapterList,
    Health,
    ModelCard,
    ModelList,
    ScoreReply,
    ScoreRequest,
    Selection,
    StopRequest,
)
from local_runtime.daemon.http import HttpProblem, read, reply, until_hangup
from local_runtime.daemon.metrics import Outcome
from local_runtime.daemon.readiness import Phase
from local_runtime.daemon.record import Record
from local_runtime.daemon.scheduler import Superseded
from local_runtime.daemon.service import Service
from local_runtime.errors import BadRequest

MAX_WAIT_SECONDS = 60.0


async def score(request: Request) -> Response:
    """`POST /v1/score`."""
    service: Service = request.app.state.service
    record = Record(service.metrics, "score")
    with record.failures():
        body = await read(request, ScoreRequest)
        record.about(body)
        try:
            answer = await until_hangup(request, _score(service, body))
        except Superseded:
            raise HttpProblem(409, "a newer request of the same document took this one's place", "superseded") from None
        service.metrics.tokens.labels("scored").inc(len(answer.token_ids))
        record.ended(Outcome.OK, f"{answer.prompt_tokens}+{len(answer.token_ids)} tokens")
    return reply(answer)


async def _score(service: Service, body: ScoreRequest) -> ScoreReply:
    logprobs: list[float] = []
    greedy: list[bool] = []
    async with service.score(body) as scoring:
        async for piece in scoring.job:
            logprobs += piece.logprobs
            greedy += piece.greedy
    prompting, model, target = service.prompting, service.model, scoring.target
    assert prompting is not None and model is not None
    tokens = prompting.texts(target.token_ids)
    text = body.target if isinstance(body.target, str) else "".join(tokens)
    answer = ScoreReply(
        model.name, list(target.token_ids), tokens, logprobs, greedy, sum(logprobs),
        len(text.encode("utf-8", "replace")), target.ended, len(scoring.prompt.token_ids),
    )  # fmt: skip
    answer.adapter_id = scoring.choice.adapter.id if scoring.choice.adapter else None
    answer.strength = scoring.choice.strength
    return answer


async def models(request: Request) -> Response:
    """`GET /v1/models`: what is served; nothing while it loads."""
    card = _card(request.app.state.service)
    return reply(ModelList([card] if card else []))


async def adapters(request: Request) -> Response:
    """`GET /v1/adapters` lists; `POST` selects, and requests that run keep the adapter they began with."""
    service: Service = request.app.state.service
    if request.method == "POST":
        record = Record(service.metrics, "selection")
        with record.failures():
            selection = await read(request, Selection)
            base_hash = None if selection.base_hash is UNSET else selection.base_hash
            await service.select(lambda: _chosen(service, selection), base_hash)
            record.ended(Outcome.OK)
        return reply(AdapterList(_active(service)))
    base_hash = service.model.base_hash if service.model else ""
    cards = await service.away(lambda: list(service.shelf.cards(base_hash)))
    return reply(AdapterList(_active(service), cards, service.shelf.problem))


def _chosen(service: Service, selection: Selection) -> Choice:
    strength = None if selection.strength is UNSET else selection.strength
    if selection.mix is not UNSET:
        if selection.adapter is not UNSET:
            raise BadRequest("give either adapter or mix, not both")
        return service.shelf.choose(mix_name([(part.adapter, part.strength) for part in selection.mix]), strength)
    if selection.adapter is not UNSET:
        return service.shelf.choose(selection.adapter or "", strength)
    if strength is None:
        raise BadRequest("nothing is selected: give adapter, mix or strength")
    return service.shelf.choose(None, strength)


async def health(request: Request) -> Response:
    """`GET /health`; with `?wait=SECONDS` the answer comes once loading is over, or after that time."""
    service: Service = request.app.state.service
    try:
        wait_seconds = float(request.query_params.get("wait", "0"))
    except ValueError:
        raise HttpProblem(400, "wait is not a number of seconds") from None
    if not 0 <= wait_seconds <= MAX_WAIT_SECONDS:
        raise HttpProblem(400, f"wait is not between 0 and {MAX_WAIT_SECONDS:g} seconds")
    standing = service.readiness.standing
    if wait_seconds:
        standing = await until_hangup(request, service.readiness.settled(wait_seconds))
    answer = Health(
        standing.phase.value, __version__, os.getpid(), progress=standing.progress, message=standing.message
    )
    answer.remedy = standing.remedy
    answer.model = _card(service)
    answer.active = _active(service)
    answer.idle_seconds = service.activity.person_idle_seconds
    answer.uptime_seconds = service.activity.uptime_seconds
    answer.port = request.app.state.port
    answer.remote = service.remote
    return reply(answer)


async def metrics(request: Request) -> Response:
    """`GET /metrics`, in Prometheus' text format."""
    service: Service = request.app.state.service
    load = service.scheduler.load()
    service.metrics.look_at(service.scheduler.engine)
    service.metrics.waiting.set(load.n_waiting)
    service.metrics.forwards.set(load.n_forwards)
    service.metrics.busy.set(load.busy_seconds)
    service.metrics.idle.set(service.activity.person_idle_seconds)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def stop(request: Request) -> Response:
    """`POST /v1/runtime/stop`, on the Unix socket alone: finish what runs, then end the process."""
    body = await read(request, StopRequest)
    if body.pid != os.getpid():
        raise HttpProblem(409, f"this daemon is process {os.getpid()}, not {body.pid}", "conflict")
    end: Callable[[], None] = request.app.state.end
    end()
    service: Service = request.app.state.service
    return reply(Health("stopping", __version__, os.getpid(), uptime_seconds=service.activity.uptime_seconds))


def _card(service: Service) -> ModelCard | None:
    model = service.model
    if model is None or service.readiness.standing.phase is not Phase.READY:
        return None
    return ModelCard(
        model.name,
        model.base_hash,
        model.quantization,
        model.device,
        model.context_tokens,
        model.vocab_size,
        model.details,
        model.scores,
    )


def _active(service: Service) -> ActiveAdapter:
    choice = service.shelf.active
    return ActiveAdapter(choice.name, choice.adapter.id if choice.adapter else None, choice.strength)
