"""What all dialects ask for, as the daemon's own request: within its bounds, whatever a client was configured to send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from local_runtime.client.wire import CompletionRequest, ContextChunk
from local_runtime.daemon.http import HttpProblem
from local_runtime.errors import BadRequest
from local_runtime.prompts.foreign import split_files, split_foreign
from local_runtime.prompts.hole import Chunk

UNLIMITED_TOKENS = 256
"""For a client that sets no limit, or says there is none: it looks at a line or a block, and hangs up when it has it."""
MAX_STOPS = 64
MAX_STOP_CHARS = 256
MAX_CHOICES = 8
MAX_CHUNKS = 256


def hole_request(prefix: str, suffix: str, chunks: Sequence[Chunk] = (), path: str = "") -> CompletionRequest:
    """A request for a hole; the first chunk is the one to keep when there is no room for all."""
    context = [ContextChunk(chunk.path, chunk.text) for chunk in chunks[:MAX_CHUNKS]]
    return CompletionRequest(prompt=prefix, suffix=suffix, context=context or None, path=path)


def prefix_request(prompt: str, suffix: str) -> CompletionRequest:
    """A request for a hole; the files that somebody's marks put before the prefix are chunks."""
    found = split_files(prompt)
    if found is None:
        return hole_request(prompt, suffix)
    return hole_request(found.hole.prefix, suffix, found.chunks, found.hole.path)


def text_request(prompt: str) -> CompletionRequest:
    """A request for a prompt with somebody's sentinels in it, or for any text to go on from. Raises BadRequest."""
    found = split_foreign(prompt)
    if found is None:
        return CompletionRequest(prompt=prompt)
    return hole_request(found.hole.prefix, found.hole.suffix, found.chunks, found.hole.path)


def sampled(
    request: CompletionRequest,
    *,
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    seed: int | None,
    stop: str | Iterable[str] | None,
) -> CompletionRequest:
    """The request, with what every dialect says about choosing tokens. No temperature is greedy.

    Numbers out of range are taken for the nearest one in range. Raises BadRequest for stop strings beyond the bounds, as
    leaving one out would let through what it should stop.
    """
    request.max_tokens = UNLIMITED_TOKENS if max_tokens is None or max_tokens < 0 else max_tokens
    request.temperature = min(max(temperature or 0.0, 0.0), 2.0)
    request.top_p = 1.0 if top_p is None or not 0 < top_p < 1 else top_p
    request.seed = None if seed is None or seed < 0 else seed % (1 << 63)
    stops = [stop] if isinstance(stop, str) else list(stop or ())
    request.stop = list(dict.fromkeys(text for text in stops if text))
    if len(request.stop) > MAX_STOPS or any(len(text) > MAX_STOP_CHARS for text in request.stop):
        raise BadRequest(f"at most {MAX_STOPS} stop strings of at most {MAX_STOP_CHARS} characters are served")
    return request


def sentence(problem: HttpProblem) -> str:
    """A problem for dialects whose errors are one text."""
    return f"{problem.message} (to mend it: {problem.remedy})" if problem.remedy else problem.message
