"""Ollama: `/api/generate`, with and without `suffix`, and the little that clients ask about the model.

Formats: Ollama's `docs/api.md`, Continue's `core/llm/llms/Ollama.ts`, twinny's `inference/adapters/fim-dialects.ts` and
`http.ts`, llm-ls' `backend.rs`. What differs: `system`, `template`, `context`, `keep_alive` and all options but those below
are left out; a `format` or images are refused. Any model name is answered by the model that is served.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from local_runtime import __version__
from local_runtime.client.wire import CompletionReply, CompletionRequest
from local_runtime.daemon.conversation import converse
from local_runtime.daemon.foreign.asking import prefix_request, sampled, sentence, text_request
from local_runtime.daemon.http import HttpProblem, read, reply
from local_runtime.daemon.service import Service
from local_runtime.engines.protocol import EngineModel
from local_runtime.errors import BadRequest

TEMPLATE = "{{ .Prompt }}{{ .Suffix }}"
"""`.Suffix` in it tells Continue that a suffix may be sent. The layout itself is the served model's."""
_NANOSECONDS = 1_000_000  # in a millisecond


class OllamaOptions(msgspec.Struct, kw_only=True):
    """Other options are ignored; `num_ctx` too, as the context is the model's."""

    num_predict: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None


class OllamaRequest(msgspec.Struct, kw_only=True):
    """`POST /api/generate`. An empty prompt only warms the model up."""

    model: str = ""
    prompt: str = ""
    suffix: str | None = None
    options: OllamaOptions | None = None
    stream: bool | None = None
    """Default true."""
    raw: bool | None = None
    format: Any = None
    images: list[str] | None = None


class OllamaReply(msgspec.Struct):
    """One line of a stream, or the whole answer; the last has `done` and the numbers, with durations in nanoseconds."""

    model: str
    created_at: str
    response: str
    done: bool
    done_reason: Literal["stop", "length", "load"] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class OllamaDetails(msgspec.Struct):
    """What kind of model it is."""

    family: str
    families: list[str]
    quantization_level: str
    parameter_size: str = ""
    format: str = "safetensors"
    parent_model: str = ""


class OllamaModel(msgspec.Struct):
    """A model in a list. Its size is not told (0)."""

    name: str
    model: str
    digest: str
    details: OllamaDetails
    modified_at: str = "1970-01-01T00:00:00Z"
    size: int = 0


class OllamaModels(msgspec.Struct):
    """`GET /api/tags`."""

    models: list[OllamaModel]


class OllamaShow(msgspec.Struct):
    """`POST /api/show`."""

    parameters: str
    """One a line, and no line break at the end, which Continue would stumble over."""
    details: OllamaDetails
    model_info: dict[str, Any]
    template: str = TEMPLATE
    modelfile: str = ""
    capabilities: tuple[str, ...] = ("completion", "insert")


class OllamaShowRequest(msgspec.Struct):
    """The name is not looked at."""

    model: str = ""
    name: str = ""


class OllamaVersion(msgspec.Struct):
    """`GET /api/version`: of this daemon."""

    version: str = __version__


class OllamaError(msgspec.Struct):
    """Body of a reply that is not a success, and last line of a stream that broke."""

    error: str


class OllamaVoice:
    """Replies to one request."""

    media_type = "application/x-ndjson"

    def __init__(self, *, only_load: bool) -> None:
        self._only_load = only_load
        self._n_tokens = 0

    def whole(self, reply: CompletionReply) -> OllamaReply:
        """Text and numbers in one."""
        [choice] = reply.choices
        return self._last(reply, choice.text)

    def part(self, reply: CompletionReply) -> bytes:
        """A line with text; at the end one more with the numbers."""
        [choice] = reply.choices
        said = b""
        if choice.text:
            said = _line(OllamaReply(_tagged(reply.model), _now(), choice.text, done=False))
        return said + _line(self._last(reply, "")) if choice.stop_kind else said

    def fault(self, problem: HttpProblem) -> bytes:
        """A line with the error."""
        return _line(OllamaError(sentence(problem)))

    def _last(self, reply: CompletionReply, text: str) -> OllamaReply:
        said = OllamaReply(_tagged(reply.model), _now(), text, done=True)
        said.done_reason = "length" if reply.choices[0].stop_kind == "length" else "stop"
        if self._only_load:
            said.done_reason = "load"
        elif reply.usage and reply.timings:
            said.total_duration = round(reply.timings.total_ms * _NANOSECONDS)
            said.load_duration = 0
            said.prompt_eval_count = reply.usage.prompt_tokens
            said.prompt_eval_duration = round(reply.timings.first_token_ms * _NANOSECONDS)
            said.eval_count = reply.usage.completion_tokens
            said.eval_duration = max(said.total_duration - said.prompt_eval_duration, 0)
        return said


async def generate(request: Request) -> Response:
    """`POST /api/generate`: a hole if there is a suffix or the prompt has sentinels, else any text to go on from."""
    return await converse(request, OllamaRequest, _understood)


async def tags(request: Request) -> Response:
    """`GET /api/tags`: the one model that is served. Raises NotReady while it loads."""
    service: Service = request.app.state.service
    model = service.ready()
    name = _tagged(model.name)
    return reply(OllamaModels([OllamaModel(name, name, model.base_hash, _details(model))]))


async def show(request: Request) -> Response:
    """`POST /api/show`: as far as clients look at it to learn the context's length and that it fills in the middle."""
    service: Service = request.app.state.service
    await read(request, OllamaShowRequest)
    model = service.ready()
    family = _details(model).family
    info = {"general.architecture": family, f"{family}.context_length": model.context_tokens}
    return reply(OllamaShow(f"num_ctx {model.context_tokens}", _details(model), info))


async def version(_request: Request) -> Response:
    """`GET /api/version`."""
    return reply(OllamaVersion())


def refusal(problem: HttpProblem) -> Response:
    """A problem as Ollama says it."""
    return reply(OllamaError(sentence(problem)), problem.status)


def _understood(asked: OllamaRequest) -> tuple[CompletionRequest, OllamaVoice]:
    if asked.images or asked.format:
        raise BadRequest("images and a format of the answer are not supported: leave out both")
    options = asked.options or OllamaOptions()
    only_load = not asked.prompt and not asked.suffix
    if asked.suffix is None or (not asked.suffix and _has_sentinels(asked.prompt)):
        request = text_request(asked.prompt)
    else:
        request = prefix_request(asked.prompt, asked.suffix)
    sampled(
        request, max_tokens=0 if only_load else options.num_predict, temperature=options.temperature,
        top_p=options.top_p, seed=options.seed, stop=options.stop,
    )  # fmt: skip
    request.stream = asked.stream is not False
    request.priority = "background" if only_load else "person"
    return request, OllamaVoice(only_load=only_load)


def _has_sentinels(prompt: str) -> bool:
    return text_request(prompt).suffix is not None


def _details(model: EngineModel) -> OllamaDetails:
    family = model.details.get("family", model.name)
    return OllamaDetails(family, [family], model.quantization)


def _tagged(name: str) -> str:
    """Names have a tag there."""
    return name if ":" in name else f"{name}:latest"


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"
