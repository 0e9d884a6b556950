"""`GET /openapi.json`: the API's description, made from the very types that requests are checked against."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_runtime import __version__
from local_runtime.daemon import wire

Operation = tuple[str, str, str, type[msgspec.Struct] | None, type[msgspec.Struct] | None]

OPERATIONS: tuple[Operation, ...] = (
    ("/v1/completions", "post", "Complete a hole or a text", wire.CompletionRequest, wire.CompletionReply),
    ("/v1/score", "post", "Log-probability of a given target", wire.ScoreRequest, wire.ScoreReply),
    ("/v1/models", "get", "What is served", None, wire.ModelList),
    ("/v1/adapters", "get", "Adapters on disk, and the active one", None, wire.AdapterList),
    ("/v1/adapters", "post", "Activate an adapter, a mix or another strength", wire.Selection, wire.AdapterList),
    ("/v1/runtime/stop", "post", "End the daemon", wire.StopRequest, wire.Health),
    ("/health", "get", "Whether the model is ready, and who serves", None, wire.Health),
    ("/metrics", "get", "Numbers for Prometheus", None, None),
)


def document() -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    structs = {struct for operation in OPERATIONS for struct in operation[3:] if struct} | {wire.ErrorReply}
    ordered = sorted(structs, key=lambda struct: struct.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(ordered, schemas, strict=True))
    problem = {"description": "What is wrong, in a sentence", "content": _json(schema_of[wire.ErrorReply])}
    paths: dict[str, Any] = {}
    for path, method, summary, takes, gives in OPERATIONS:
        content = _json(schema_of[gives]) if gives else {"text/plain": {"schema": {"type": "string"}}}
        if gives is wire.CompletionReply:
            content["text/event-stream"] = {}  # a reply per event
        operation: dict[str, Any] = {
            "summary": summary,
            "responses": {"200": {"description": "Done", "content": content}, "4XX": problem, "503": problem},
        }
        if takes:
            operation["requestBody"] = {"required": True, "content": _json(schema_of[takes])}
        if path == "/health":
            seconds = {"type": "number", "minimum": 0, "maximum": 60}
            operation["parameters"] = [{"name": "wait", "in": "query", "required": False, "schema": seconds}]
        paths.setdefault(path, {})[method] = operation
    info = {"title": "Understudy", "version": __version__, "description": "Code completion on this machine alone."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}}


async def openapi(_request: Request) -> Response:
    """The document as JSON."""
    return JSONResponse(document())


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
