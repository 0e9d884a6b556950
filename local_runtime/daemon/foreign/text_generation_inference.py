"""Text Generation Inference: `/generate`, `/generate_stream`, `/`, as llm-ls (llm-vscode, llm.nvim) and others use them.

Formats: TGI's `docs/openapi.json` (`GenerateRequest`, `GenerateResponse`, `StreamResponse`, `ErrorResponse`), llm-ls'
`crates/llm-ls/src/backend.rs`. `/models/MODEL` is Hugging Face's hosted form of `/`, which llm-ls' backend `huggingface` asks.
What differs: a stop string is not repeated at the end of the text; a stream has one event per step of the engine, which may
bring several tokens at once; `top_k`, `typical_p`, penalties and watermarks are left out, a grammar is refused.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_runtime.client.wire import Choice, CompletionReply, CompletionRequest
from local_runtime.daemon.conversation import converse
from local_runtime.daemon.foreign.asking import sampled, sentence, text_request
from local_runtime.daemon.http import HttpProblem, reply
from local_runtime.errors import BadRequest

DEFAULT_NEW_TOKENS = 100
_FINISH: dict[str | None, Literal["length", "eos_token", "stop_sequence"]] = {
    "end": "eos_token",
    "text": "stop_sequence",
}
_STATUS = {400: 422, 503: 503}
_ERROR_TYPE = {422: "validation", 503: "overloaded"}


class TgiParameters(msgspec.Struct, kw_only=True):
    """Other parameters are ignored."""

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    do_sample: bool | None = None
    seed: int | None = None
    stop: list[str] | None = None
    stop_tokens: list[str] | None = None
    """llm-ls before 0.5 called it so."""
    return_full_text: bool | None = None
    details: bool | None = None
    grammar: Any = None


class TgiRequest(msgspec.Struct, kw_only=True):
    """`POST /generate`, `/generate_stream` and `/`. `inputs` may hold the sentinels of any family we know."""

    inputs: str
    parameters: TgiParameters | None = None
    stream: bool = False
    """Looked at by `/` alone."""


class TgiToken(msgspec.Struct):
    """One step of a stream; `special` is the end, which has no text."""

    id: int
    text: str
    logprob: float
    special: bool


class TgiDetails(msgspec.Struct):
    """How a completion came about, if asked for."""

    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None
    prefill: list[TgiToken]
    """Always empty."""
    tokens: list[TgiToken]


class TgiReply(msgspec.Struct, omit_defaults=True):
    """Answer of `/generate`; `/` gives a list of one."""

    generated_text: str
    details: TgiDetails | None = None


class TgiStreamDetails(msgspec.Struct):
    """With the last event of a stream."""

    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None
    input_length: int


class TgiEvent(msgspec.Struct):
    """One event of a stream; the last has the whole text."""

    index: int
    token: TgiToken
    generated_text: str | None = None
    details: TgiStreamDetails | None = None


class TgiError(msgspec.Struct):
    """Body of a reply that is not a success, and data of a stream's last event if it broke."""

    error: str
    error_type: str


class TgiVoice:
    """Replies to one request."""

    media_type = "text/event-stream"

    def __init__(self, asked: TgiRequest, request: CompletionRequest, *, in_a_list: bool) -> None:
        self._asked = asked
        self._parameters = asked.parameters or TgiParameters()
        self._request = request
        self._in_a_list = in_a_list
        self._text = asked.inputs if self._parameters.return_full_text else ""
        self._n_events = 0
        self._n_tokens = 0

    def whole(self, reply: CompletionReply) -> Any:
        """One object, or a list of one."""
        [choice] = reply.choices
        said = TgiReply(self._text + choice.text)
        if self._parameters.details:
            n_tokens = len(choice.token_ids)
            said.details = TgiDetails(_finish(choice), n_tokens, self._request.seed, [], _tokens(choice))
        return [said] if self._in_a_list else said

    def part(self, reply: CompletionReply) -> bytes:
        """One event; there is none after the last."""
        [choice] = reply.choices
        self._text += choice.text
        self._n_tokens += len(choice.token_ids)
        self._n_events += 1
        logprob = sum(choice.logprobs.token_logprobs) if choice.logprobs else 0.0
        last_id = choice.token_ids[-1] if choice.token_ids else 0
        event = TgiEvent(self._n_events, TgiToken(last_id, choice.text, logprob, not choice.text))
        if choice.stop_kind:
            n_prompt = reply.usage.prompt_tokens if reply.usage else 0
            event.generated_text = self._text
            event.details = TgiStreamDetails(_finish(choice), self._n_tokens, self._request.seed, n_prompt)
        return _event(event)

    def fault(self, problem: HttpProblem) -> bytes:
        """An event whose data is the error."""
        return _event(_error(problem)[1])


async def generate(request: Request) -> Response:
    """`POST /generate`."""
    return await converse(request, TgiRequest, lambda asked: _understood(asked, stream=False))


async def generate_stream(request: Request) -> Response:
    """`POST /generate_stream`."""
    return await converse(request, TgiRequest, lambda asked: _understood(asked, stream=True))


async def either(request: Request) -> Response:
    """`POST /` and `POST /models/MODEL`: a list of one, or a stream."""
    return await converse(request, TgiRequest, lambda asked: _understood(asked, stream=asked.stream, in_a_list=True))


def refusal(problem: HttpProblem) -> Response:
    """A problem as TGI says it."""
    status, body = _error(problem)
    return reply(body, status)


def _understood(asked: TgiRequest, *, stream: bool, in_a_list: bool = False) -> tuple[CompletionRequest, TgiVoice]:
    parameters = asked.parameters or TgiParameters()
    if parameters.grammar is not None:
        raise BadRequest("a grammar is not supported: leave out parameters.grammar")
    max_tokens = DEFAULT_NEW_TOKENS if parameters.max_new_tokens is None else parameters.max_new_tokens
    temperature = parameters.temperature
    if temperature is None and parameters.do_sample:
        temperature = 1.0
    stop = [*(parameters.stop or ()), *(parameters.stop_tokens or ())]
    request = sampled(
        text_request(asked.inputs), max_tokens=max_tokens, temperature=temperature, top_p=parameters.top_p,
        seed=parameters.seed, stop=stop,
    )  # fmt: skip
    request.stream = stream
    request.logprobs = stream or bool(parameters.details)
    return request, TgiVoice(asked, request, in_a_list=in_a_list)


def _tokens(choice: Choice) -> list[TgiToken]:
    if choice.logprobs is None:
        return []
    parts = zip(choice.token_ids, choice.logprobs.tokens, choice.logprobs.token_logprobs, strict=True)
    return [TgiToken(token_id, text, logprob, special=False) for token_id, text, logprob in parts]


def _finish(choice: Choice) -> Literal["length", "eos_token", "stop_sequence"]:
    return _FINISH.get(choice.stop_kind, "length")


def _event(value: Any) -> bytes:
    return b"data:" + msgspec.json.encode(value) + b"\n\n"


def _error(problem: HttpProblem) -> tuple[int, TgiError]:
    status = _STATUS.get(problem.status, problem.status)
    return status, TgiError(sentence(problem), _ERROR_TYPE.get(status, "generation"))
