"""`GET /openapi.json`: the API's description, made from the very types that requests are checked against."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_runtime import __version__
from local_runtime.client import wire
from local_runtime.daemon.foreign.routes import foreign_routes


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked."""

    path: str
    method: str
    summary: str
    takes: type[msgspec.Struct] | None
    gives: Any
    """Type of the answer in JSON, if it can be JSON."""
    streams: str | None = None
    """Media type of an answer that is not JSON."""
    problem: type[msgspec.Struct] = wire.ErrorReply


def operations() -> list[Operation]:
    """Everything that is answered, in our own dialect and in others'."""
    sse = "text/event-stream"
    return [
        Operation(
            "/v1/completions", "post", "Complete a hole or a text", wire.CompletionRequest, wire.CompletionReply, sse
        ),
        Operation("/v1/score", "post", "Log-probability of a given target", wire.ScoreRequest, wire.ScoreReply),
        Operation("/v1/models", "get", "What is served", None, wire.ModelList),
        Operation("/v1/adapters", "get", "Adapters on disk, and the active one", None, wire.AdapterList),
        Operation(
            "/v1/adapters", "post", "Activate an adapter, a mix or another strength", wire.Selection, wire.AdapterList
        ),
        Operation("/v1/runtime/stop", "post", "End the daemon", wire.StopRequest, wire.Health),
        Operation("/health", "get", "Whether the model is ready, and who serves", None, wire.Health),
        Operation("/metrics", "get", "Numbers for Prometheus", None, None, "text/plain"),
        *(
            Operation(r.path.replace(":path", ""), r.method.lower(), r.summary, r.takes, r.gives, r.streams, r.problem)
            for r in foreign_routes()
        ),
    ]


def document() -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    types = {str(t): t for o in operations() for t in (o.takes, o.gives, o.problem) if t}
    schemas, components = msgspec.json.schema_components(types.values(), ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {}
    for one in operations():
        problem = {"description": "What is wrong, in a sentence", "content": _json(schema_of[str(one.problem)])}
        content = _json(schema_of[str(one.gives)]) if one.gives else {}
        if one.streams:
            content[one.streams] = {"schema": {"type": "string"}} if one.streams == "text/plain" else {}
        operation: dict[str, Any] = {
            "summary": one.summary,
            "responses": {"200": {"description": "Done", "content": content}, "4XX": problem, "503": problem},
        }
        if one.takes:
            operation["requestBody"] = {"required": True, "content": _json(schema_of[str(one.takes)])}
        parameters = [_parameter(name, "path", {"type": "string"}) for name in re.findall(r"{(\w+)}", one.path)]
        if one.path == "/health":
            parameters.append(_parameter("wait", "query", {"type": "number", "minimum": 0, "maximum": 60}))
        if parameters:
            operation["parameters"] = parameters
        paths.setdefault(one.path, {})[one.method] = operation
    info = {"title": "Understudy", "version": __version__, "description": "Code completion on this machine alone."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}}


def _parameter(name: str, where: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


async def openapi(_request: Request) -> Response:
    """The document as JSON."""
    return JSONResponse(document())


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
