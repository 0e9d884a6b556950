"""FauxPilot: `/v1/engines/ENGINE/completions`, the path of OpenAI's old API and of the first Copilot.

Formats: FauxPilot's `copilot_proxy/models.py` and `app.py`, vscode-fauxpilot's `src/AccessBackend.ts`, OpenAI's Python
library before 1.0. Copilot adds `extra.language`. Replies are OpenAI's, as at `/v1/completions`. What differs: without
`suffix` a prompt is gone on from as plain text; `echo`, `best_of`, penalties and biases are left out.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_runtime.client.wire import CompletionRequest
from local_runtime.daemon.completions import OpenAiVoice
from local_runtime.daemon.conversation import converse
from local_runtime.daemon.foreign.asking import MAX_CHOICES, hole_request, sampled, text_request
from local_runtime.daemon.http import reply
from local_runtime.errors import BadRequest

EXPIRES_AT = 2_600_000_000
"""A time in 2052, in seconds since 1970: what FauxPilot says too."""


class CopilotExtra(msgspec.Struct):
    """What Copilot adds to a request; the rest of it is ignored."""

    language: str = ""


class EngineRequest(msgspec.Struct, kw_only=True):
    """`POST /v1/engines/ENGINE/completions`. The engine and the model may have any name."""

    prompt: str | list[str] = ""
    suffix: str | None = None
    max_tokens: int | None = 16
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = 1
    stream: bool | None = None
    logprobs: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    extra: CopilotExtra | None = None


class CopilotToken(msgspec.Struct):
    """`GET /copilot_internal/v2/token`: nothing is granted by it; this port's own token is what counts."""

    token: str = "1"
    expires_at: int = EXPIRES_AT
    refresh_in: int = 900


async def completions(request: Request) -> Response:
    """A completion in OpenAI's old words."""
    return await converse(request, EngineRequest, _understood)


async def copilot_token(_request: Request) -> Response:
    """What FauxPilot answers to a Copilot client that asks for its session."""
    return reply(CopilotToken())


def _understood(asked: EngineRequest) -> tuple[CompletionRequest, OpenAiVoice]:
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    if len(prompts) != 1:
        raise BadRequest("prompt is a list of several texts: one request takes one prompt")
    request = hole_request(prompts[0], asked.suffix) if asked.suffix else text_request(prompts[0])
    sampled(
        request, max_tokens=asked.max_tokens, temperature=asked.temperature, top_p=asked.top_p, seed=asked.seed,
        stop=asked.stop,
    )  # fmt: skip
    request.n = min(max(asked.n or 1, 1), MAX_CHOICES)
    request.stream = bool(asked.stream)
    request.logprobs = asked.logprobs is not None
    request.language = asked.extra.language[:64] if asked.extra else ""
    return request, OpenAiVoice()
