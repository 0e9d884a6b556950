"""`POST /v1/completions`: OpenAI's text completions, whole or streamed."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_runtime.client.wire import CompletionReply, CompletionRequest
from local_runtime.daemon.conversation import converse
from local_runtime.daemon.http import HttpProblem, error_of


class OpenAiVoice:
    """Our own replies, which are OpenAI's; a stream is server-sent events and `[DONE]`."""

    media_type = "text/event-stream"

    def whole(self, reply: CompletionReply) -> CompletionReply:
        """As it is."""
        return reply

    def part(self, reply: CompletionReply) -> bytes:
        """One event, and the end after the last."""
        return _event(reply) + (b"data: [DONE]\n\n" if reply.usage else b"")

    def fault(self, problem: HttpProblem) -> bytes:
        """An event with the error, and the end."""
        return _event(error_of(problem)) + b"data: [DONE]\n\n"


async def completions(request: Request) -> Response:
    """A request in our own dialect."""
    return await converse(request, CompletionRequest, lambda body: (body, OpenAiVoice()))


def _event(value: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
