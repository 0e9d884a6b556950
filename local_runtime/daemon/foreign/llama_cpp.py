"""llama.cpp's server: `/infill` and `/completion`, as llama.vim, llama.vscode and twinny use them; `/props`, `/health`.

Formats: llama.cpp's `tools/server/README.md`, its `to_json_non_oaicompat` (`server-task.cpp`), the requests of llama.vim's
`autoload/llama.vim` and llama.vscode's `src/llama-server.ts`. What differs: a request without `temperature` is greedy, and
of all samplers only temperature and top_p are applied; `generation_settings` says what was. `t_max_prompt_ms`, `id_slot`
and `cache_prompt` change nothing: the KV cache of any matching prompt is reused. llm-ls' backend `llamacpp` asks
`/v1/completions` and reads llama.cpp's answer there: it must be given the address of `/completion`, and told to leave it so.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from local_runtime import __version__
from local_runtime.client.wire import Choice, CompletionReply, CompletionRequest
from local_runtime.daemon.conversation import converse
from local_runtime.daemon.foreign.asking import MAX_CHOICES, hole_request, sampled, text_request
from local_runtime.daemon.http import HttpProblem, reply
from local_runtime.daemon.readiness import Phase
from local_runtime.daemon.service import Service
from local_runtime.prompts.hole import Chunk

WARM_UP_MS = 1
"""`t_max_predict_ms` of a request that only fills the KV cache; older clients ask for one token with it, newer ones for none."""
_KIND = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    503: "unavailable_error",
}
_STOP_TYPE = {"end": "eos", "text": "word", "length": "limit"}


class LlamaExtra(msgspec.Struct):
    """A chunk of another file. llama.vim also sends `time`; chunks come oldest first."""

    text: str = ""
    filename: str | None = None


class LlamaRequest(msgspec.Struct, kw_only=True):
    """`POST /infill` and `POST /completion`; other fields are ignored."""

    prompt: str = ""
    """`/infill`: the cursor's line up to the cursor."""
    input_prefix: str = ""
    input_suffix: str = ""
    input_extra: Annotated[list[LlamaExtra], Meta(max_length=1024)] = []
    n_predict: int | None = None
    max_tokens: int | None = None
    """Another name of `n_predict`."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    n_cmpl: int = 1
    n_indent: int = 0
    t_max_predict_ms: float = -1
    id_slot: int = -1
    response_fields: Annotated[list[str], Meta(max_length=256)] | None = None


class LlamaTimings(msgspec.Struct):
    """Of the whole prompt and the whole completion, in milliseconds and tokens per second."""

    prompt_n: int
    """All tokens of the prompt, reused ones too."""
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class LlamaReply(msgspec.Struct):
    """A completion, or a part of one, which has the first seven fields. `response_fields` leave only some of them."""

    index: int | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tokens: list[int] | UnsetType = UNSET
    stop: bool | UnsetType = UNSET
    id_slot: int | UnsetType = UNSET
    tokens_predicted: int | UnsetType = UNSET
    tokens_evaluated: int | UnsetType = UNSET
    model: str | UnsetType = UNSET
    generation_settings: dict[str, Any] | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    """Always empty: it is not repeated."""
    has_new_line: bool | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    """Always false: a context is never shifted, a prompt is trimmed before."""
    stop_type: str | UnsetType = UNSET
    stopping_word: str | UnsetType = UNSET
    tokens_cached: int | UnsetType = UNSET
    timings: LlamaTimings | UnsetType = UNSET


class LlamaProps(msgspec.Struct):
    """`GET /props`."""

    default_generation_settings: dict[str, Any]
    model_alias: str
    model_path: str
    build_info: str
    total_slots: int = 1
    chat_template: str = ""


class LlamaHealth(msgspec.Struct):
    """`GET /llama.cpp/health`, once the model answers; before, 503 and an error."""

    status: str = "ok"


class LlamaError(msgspec.Struct):
    """Body of a reply that is not a success."""

    error: dict[str, Any]


class LlamaVoice:
    """Replies to one request."""

    media_type = "text/event-stream"

    def __init__(self, asked: LlamaRequest, request: CompletionRequest, service: Service) -> None:
        self._asked = asked
        self._request = request
        self._service = service
        self._n_predicted: dict[int, int] = {}
        self._several_lines: set[int] = set()

    def whole(self, reply: CompletionReply) -> Any:
        """One object, or a list of them if several were asked for."""
        said = [self._narrowed(self._last(choice, reply)) for choice in reply.choices]
        return said if self._asked.n_cmpl > 1 else said[0]

    def part(self, reply: CompletionReply) -> bytes:
        """One event; there is none after the last."""
        [choice] = reply.choices
        if choice.stop_kind:
            return _event(self._narrowed(self._last(choice, reply)))
        n_predicted = self._n_predicted[choice.index] = self._n_predicted.get(choice.index, 0) + len(choice.token_ids)
        if "\n" in choice.text:
            self._several_lines.add(choice.index)
        return _event(
            LlamaReply(choice.index, choice.text, choice.token_ids, False, self._asked.id_slot, n_predicted, 0)
        )

    def fault(self, problem: HttpProblem) -> bytes:
        """An event whose data is the error."""
        return _event(_error(problem))

    def _last(self, choice: Choice, reply: CompletionReply) -> LlamaReply:
        usage, timings = reply.usage, reply.timings
        n_prompt = usage.prompt_tokens if usage else 0
        n_predicted = self._n_predicted.get(choice.index, 0) + len(choice.token_ids)
        said = LlamaReply(choice.index, choice.text, choice.token_ids, True, self._asked.id_slot, n_predicted, n_prompt)
        said.model = reply.model
        # llama.vscode's status bar says how much of the context is used, and reads its size here.
        model = self._service.model
        said.generation_settings = {"n_ctx": model.context_tokens if model else 0, **_settings(self._request)}
        said.prompt = ""
        said.has_new_line = "\n" in choice.text or choice.index in self._several_lines
        said.truncated = False
        said.stop_type = _STOP_TYPE.get(choice.stop_kind or "", "none")
        said.stopping_word = ""
        said.tokens_cached = n_prompt + n_predicted
        if timings:
            said.timings = _timings(n_prompt, timings.first_token_ms, n_predicted, timings.total_ms)
        return said

    def _narrowed(self, said: LlamaReply) -> LlamaReply | dict[str, Any]:
        """Only what `response_fields` name, flat, a path as its own key: `timings/prompt_n`."""
        if self._asked.response_fields is None:
            return said
        every = msgspec.to_builtins(said)
        found = {path: _at(every, path.split("/")) for path in self._asked.response_fields}
        return {path: value for path, value in found.items() if value is not UNSET}


async def infill(request: Request) -> Response:
    """`POST /infill`: a hole. A request that only fills the KV cache is background work."""
    return await converse(request, LlamaRequest, lambda asked: _infill(asked, request.app.state.service))


async def completion(request: Request) -> Response:
    """`POST /completion`: a prompt with sentinels, or any text to go on from."""
    return await converse(request, LlamaRequest, lambda asked: _completion(asked, request.app.state.service))


async def props(request: Request) -> Response:
    """`GET /props`: what is served. Raises NotReady while it loads."""
    service: Service = request.app.state.service
    model = service.ready()
    settings = {"n_ctx": model.context_tokens, "params": _settings(CompletionRequest())}
    return reply(LlamaProps(settings, model.name, str(model.folder or ""), f"understudy {__version__}"))


async def health(request: Request) -> Response:
    """`GET /llama.cpp/health`; `/health` itself is this daemon's own."""
    service: Service = request.app.state.service
    standing = service.readiness.standing
    if standing.phase is not Phase.READY:
        raise HttpProblem(503, standing.message or "Loading model", "unavailable_error", standing.remedy)
    return reply(LlamaHealth())


def refusal(problem: HttpProblem) -> Response:
    """A problem as llama.cpp says it."""
    return reply(_error(problem), problem.status)


def _infill(asked: LlamaRequest, service: Service) -> tuple[CompletionRequest, LlamaVoice]:
    # The newest chunks first: there is seldom room for all, and llama.cpp too keeps the end of the list.
    chunks = [Chunk(extra.filename or "", extra.text) for extra in reversed(asked.input_extra) if extra.text.strip()]
    return _sampled(asked, hole_request(asked.input_prefix + asked.prompt, asked.input_suffix, chunks), service)


def _completion(asked: LlamaRequest, service: Service) -> tuple[CompletionRequest, LlamaVoice]:
    return _sampled(asked, text_request(asked.prompt), service)


def _sampled(asked: LlamaRequest, request: CompletionRequest, service: Service) -> tuple[CompletionRequest, LlamaVoice]:
    n_predict = asked.max_tokens if asked.n_predict is None else asked.n_predict
    sampled(
        request, max_tokens=n_predict, temperature=asked.temperature, top_p=asked.top_p, seed=asked.seed,
        stop=asked.stop,
    )  # fmt: skip
    request.n = min(max(asked.n_cmpl, 1), MAX_CHOICES)
    if request.n > 1 and not request.temperature:
        request.n = 1  # greedy choices are all the same: one is computed
    request.stream = asked.stream
    warms_up = request.max_tokens == 0 or asked.t_max_predict_ms == WARM_UP_MS
    request.priority = "background" if warms_up else "person"
    request.predict_ms = asked.t_max_predict_ms if asked.t_max_predict_ms >= 0 else None
    request.min_indent = min(max(asked.n_indent, 0), 4096)
    return request, LlamaVoice(asked, request, service)


def _settings(request: CompletionRequest) -> dict[str, Any]:
    """What was applied, and nothing else."""
    samplers = ["top_p", "temperature"] if request.temperature else []
    return {
        "n_predict": request.max_tokens, "temperature": request.temperature, "top_p": request.top_p,
        "seed": request.seed, "stop": request.stop or [], "samplers": samplers, "n_indent": request.min_indent,
        "t_max_predict_ms": request.predict_ms, "stream": request.stream,
    }  # fmt: skip


def _timings(n_prompt: int, prompt_ms: float, n_predicted: int, total_ms: float) -> LlamaTimings:
    predicted_ms = max(total_ms - prompt_ms, 0.0)
    return LlamaTimings(
        n_prompt, prompt_ms, _ratio(prompt_ms, n_prompt), _ratio(n_prompt * 1000, prompt_ms),
        n_predicted, predicted_ms, _ratio(predicted_ms, n_predicted), _ratio(n_predicted * 1000, predicted_ms),
    )  # fmt: skip


def _ratio(amount: float, by: float) -> float:
    return amount / by if by else 0.0


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return UNSET
        value = value[name]
    return value


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _error(problem: HttpProblem) -> LlamaError:
    kind = _KIND.get(problem.status, "server_error")
    return LlamaError({"code": problem.status, "message": problem.message, "type": kind, "remedy": problem.remedy})
