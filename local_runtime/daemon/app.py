"""The ASGI application: routes, and one shape for everything that goes wrong."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_runtime.daemon import endpoints
from local_runtime.daemon.completions import completions
from local_runtime.daemon.foreign.routes import foreign_routes, refusal_at
from local_runtime.daemon.http import HttpProblem, HungUp, as_problem
from local_runtime.daemon.openapi import openapi
from local_runtime.daemon.service import Service
from local_runtime.errors import RuntimeFault

log = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]

CLIENT_CLOSED = 499
"""nginx's status for a client that is gone; nobody reads it."""


def build_app(service: Service, end: Callable[[], None], port: int | None = None) -> Starlette:
    """The daemon's whole API. `end` begins an orderly stop; `port` is what `/health` tells about the loopback port."""
    app = Starlette(
        routes=[
            Route("/v1/completions", _answering(completions), methods=["POST"]),
            Route("/v1/score", _answering(endpoints.score), methods=["POST"]),
            Route("/v1/models", _answering(endpoints.models), methods=["GET"]),
            Route("/v1/adapters", _answering(endpoints.adapters), methods=["GET", "POST"]),
            Route("/v1/runtime/stop", _answering(endpoints.stop), methods=["POST"]),
            Route("/health", _answering(endpoints.health), methods=["GET"]),
            Route("/metrics", _answering(endpoints.metrics), methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            *(Route(r.path, _answering(r.endpoint, r.refusal), methods=[r.method]) for r in foreign_routes()),
        ],
        exception_handlers={HTTPException: _no_such_route},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.end = end
    app.state.port = port
    return app


def _answering(endpoint: Endpoint, refusal: Callable[[HttpProblem], Response] = HttpProblem.reply) -> Endpoint:
    """Turn whatever an endpoint raises into a reply: the only place where an exception becomes a status.

    `refusal` words it for other programs' clients.
    """

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HungUp:
            return Response(status_code=CLIENT_CLOSED)
        except Exception as error:
            problem = as_problem(error)
            if not isinstance(error, HttpProblem | RuntimeFault):
                # Frames without the exception's own words: these may quote a file.
                log.error(
                    "%s: %s\n%s",
                    request.url.path,
                    type(error).__name__,
                    "".join(traceback.format_tb(error.__traceback__)),
                )
            return refusal(problem)

    return answer


async def _no_such_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = "is not served here" if status == 404 else f"does not answer {request.method}"
    path = request.url.path
    answer = refusal_at(path)(HttpProblem(status, f"{path[:256]} {what}; /openapi.json lists what is"))
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer
