"""Where each dialect is answered, and how it says no."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from local_runtime.client.wire import CompletionReply, ErrorReply
from local_runtime.daemon.foreign import fauxpilot, llama_cpp, ollama
from local_runtime.daemon.foreign import text_generation_inference as tgi
from local_runtime.daemon.http import HttpProblem

Struct = type[msgspec.Struct]
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class ForeignRoute:
    """One path of a dialect."""

    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]
    summary: str
    takes: Struct | None
    gives: Any
    """Type of the answer; None: there is only a stream."""
    streams: str | None = None
    """Media type of the stream that may come in its place."""
    refusal: Callable[[HttpProblem], Response] = HttpProblem.reply
    problem: Struct = ErrorReply
    """Body of a refusal."""


def foreign_routes() -> tuple[ForeignRoute, ...]:
    """All of them. llama.cpp's are also under `/llama.cpp`, as its `/health` and ours are not the same."""
    return (*_llama_cpp(""), *_llama_cpp("/llama.cpp"), *_tgi(), *_ollama(), *_fauxpilot())


def refusal_at(path: str) -> Callable[[HttpProblem], Response]:
    """How the dialect that is answered at `path` says no, by whatever method it is asked; our own way elsewhere."""
    return next((refusal for pattern, refusal in _refusals() if pattern.match(path)), HttpProblem.reply)


@cache
def _refusals() -> tuple[tuple[re.Pattern[str], Callable[[HttpProblem], Response]], ...]:
    return tuple((compile_path(route.path)[0], route.refusal) for route in foreign_routes())


def _llama_cpp(under: str) -> tuple[ForeignRoute, ...]:
    route = partial(ForeignRoute, refusal=llama_cpp.refusal, problem=llama_cpp.LlamaError)
    asks, says = llama_cpp.LlamaRequest, llama_cpp.LlamaReply | list[llama_cpp.LlamaReply]
    health = route("GET", "/llama.cpp/health", llama_cpp.health, "llama.cpp: ready?", None, llama_cpp.LlamaHealth)
    return (
        route("POST", f"{under}/infill", llama_cpp.infill, "llama.cpp: fill a hole", asks, says, SSE),
        route("POST", f"{under}/completion", llama_cpp.completion, "llama.cpp: complete", asks, says, SSE),
        route("GET", f"{under}/props", llama_cpp.props, "llama.cpp: the model", None, llama_cpp.LlamaProps),
        *((health,) if under else ()),
    )


def _tgi() -> tuple[ForeignRoute, ...]:
    route = partial(ForeignRoute, refusal=tgi.refusal, problem=tgi.TgiError)
    asks = tgi.TgiRequest
    return (
        route("POST", "/generate", tgi.generate, "TGI: complete", asks, tgi.TgiReply),
        route("POST", "/generate_stream", tgi.generate_stream, "TGI: stream a completion", asks, None, SSE),
        route("POST", "/", tgi.either, "TGI: a list of one, or a stream", asks, list[tgi.TgiReply], SSE),
        route("POST", "/models/{model:path}", tgi.either, "Hugging Face: as `/`", asks, list[tgi.TgiReply], SSE),
    )


def _ollama() -> tuple[ForeignRoute, ...]:
    route = partial(ForeignRoute, refusal=ollama.refusal, problem=ollama.OllamaError)
    asks, says = ollama.OllamaRequest, ollama.OllamaReply
    about = ollama.OllamaShowRequest
    return (
        route("POST", "/api/generate", ollama.generate, "Ollama: complete", asks, says, NDJSON),
        route("GET", "/api/tags", ollama.tags, "Ollama: the model", None, ollama.OllamaModels),
        route("POST", "/api/show", ollama.show, "Ollama: about the model", about, ollama.OllamaShow),
        route("GET", "/api/version", ollama.version, "Ollama: our version", None, ollama.OllamaVersion),
    )


def _fauxpilot() -> tuple[ForeignRoute, ...]:
    path, asks = "/v1/engines/{engine}/completions", fauxpilot.EngineRequest
    session = "/copilot_internal/v2/token"
    return (
        ForeignRoute("POST", path, fauxpilot.completions, "FauxPilot: complete", asks, CompletionReply, SSE),
        ForeignRoute(
            "GET", session, fauxpilot.copilot_token, "FauxPilot: Copilot's session", None, fauxpilot.CopilotToken
        ),
    )
