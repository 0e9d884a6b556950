"""What crosses the daemon's socket: every request and reply, with its bounds. OpenAI's shapes, and a few fields of ours.

Unknown fields are ignored, as clients of OpenAI's API send more than a local model can honour.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

PROTOCOL = 1
"""Raised when a reply changes incompatibly; `PROTOCOL_MIN` is the oldest client that this daemon still understands."""
PROTOCOL_MIN = 1

MAX_BODY_BYTES = 8 << 20
MAX_TOKENS = 4096
"""Longest completion; a larger `max_tokens` is clamped to it, and to what the context has room for."""
BASE = "base"
"""Names no adapter at all, where an adapter may be named."""

Identifier = Annotated[str, Meta(max_length=1024)]
AdapterName = Annotated[str, Meta(max_length=256, description="A folder below the adapters folder, or `base`")]
Strength = Annotated[float, Meta(ge=0, le=2)]
Priority = Literal["person", "background"]
TokenId = Annotated[int, Meta(ge=0, lt=1 << 31)]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]


class ContextChunk(Struct):
    """A related piece of another place, shown to the model before the hole."""

    path: Annotated[str, Meta(max_length=4096)]
    text: str


class Place(Struct, kw_only=True):
    """The hole that a request asks about, and on whose behalf. Shared by completions and scores."""

    prompt: str | Annotated[list[TokenId | str], Meta(max_length=1 << 20)] = ""
    """Text before the hole; without `suffix` and `context`, any text or token ids to go on from."""
    suffix: str | None = None
    context: Annotated[list[ContextChunk], Meta(max_length=256)] | None = None
    path: Annotated[str, Meta(max_length=4096)] = ""
    """Path as the model may see it: relative to the workspace, with forward slashes."""
    language: Annotated[str, Meta(max_length=64)] = ""
    """LSP language identifier."""
    model: Annotated[str, Meta(max_length=256)] | None = None
    """Must be the model that is served, if given."""
    adapter: AdapterName | None = None
    """The adapter for this request alone; absent: the active one."""
    strength: Strength | None = None
    user: Identifier = ""
    """Which client asks; clients take fair turns."""
    document: Identifier = ""
    """Which document of the client: a newer request of it cancels the older one, and its KV cache is reused."""
    priority: Priority = "person"
    """`background` requests run only while no person waits."""


class CompletionRequest(Place, kw_only=True):
    """`POST /v1/completions`."""

    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    """Default 64. 0 only fills the KV cache: the answer is empty."""
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=64)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=256)] | None = None
    """Ids that end the completion, beside the model's own; what a client needs that gives its prompt as ids."""
    logprobs: bool | Annotated[int, Meta(ge=0, le=20)] | None = None
    """Anything but null and false adds the log-probability of each token chosen; there are no alternatives."""
    n: Annotated[int, Meta(ge=1, le=8)] = 1
    stream: bool = False
    speculate: bool = True
    predict_ms: Annotated[float, Meta(ge=0)] | None = None
    """Once this time has passed since the first token, the completion ends as soon as it has a line break."""
    min_indent: Annotated[int, Meta(ge=0, le=4096)] = 0
    """A further line indented by fewer characters ends the completion and is left out."""


class ScoreRequest(Place, kw_only=True):
    """`POST /v1/score`: the log-probability of `target` in the hole."""

    target: str | Annotated[list[TokenId], Meta(max_length=1 << 20)]
    end: bool = True
    """Whether the end of the completion is scored too, as one more token, where the model has such a token."""


class Logprobs(Struct):
    """OpenAI's parallel lists, one entry per token."""

    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: None = None
    text_offset: list[int] = []


class Choice(Struct):
    """One completion, or the next part of it in a stream."""

    text: str
    index: int = 0
    logprobs: Logprobs | None = None
    finish_reason: Literal["stop", "length", "cancelled"] | None = None
    stop_kind: Literal["end", "text", "length", "cancelled"] | None = None
    """Why it ended, more exactly: the model's own end, a stop string, the length, or a newer request."""
    token_ids: list[int] = []


class Usage(Struct):
    """Tokens of a request; `completion_tokens` counts all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Timings(Struct):
    """Milliseconds in the daemon, from the request's arrival."""

    first_token_ms: float
    total_ms: float


class CompletionReply(Struct):
    """Answer of `/v1/completions`; in a stream one per event, the last with `usage` and `timings`."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    object: Literal["text_completion"] = "text_completion"
    adapter_id: str | None = None
    strength: float = 1.0
    usage: Usage | None = None
    timings: Timings | None = None


class ScoreReply(Struct):
    """Log-probabilities in nats, one per token of the target (and one for the end, if asked for)."""

    model: str
    token_ids: list[int]
    tokens: list[str]
    logprobs: list[float]
    greedy: list[bool]
    """Whether greedy decoding would have chosen each token."""
    logprob: float
    """Sum over all tokens."""
    n_bytes: int
    """UTF-8 bytes of the target."""
    ended: bool
    """Whether the last token is the end of the completion."""
    prompt_tokens: int
    object: Literal["score"] = "score"
    adapter_id: str | None = None
    strength: float = 1.0


class ModelCard(Struct, frozen=True):
    """A model that is served."""

    id: str
    base_hash: str
    quantization: str
    device: str
    context_tokens: int
    vocab_size: int
    details: dict[str, str] = {}
    scores: bool = True
    """Whether `/v1/score` answers for it."""
    object: Literal["model"] = "model"
    owned_by: str = "this machine"
    created: int = 0


class ModelList(Struct):
    """`GET /v1/models`."""

    data: list[ModelCard]
    object: Literal["list"] = "list"


class MixPart(Struct):
    """One adapter of a mix, and how much of it."""

    adapter: AdapterName
    strength: Strength = 1.0


class Selection(Struct, kw_only=True):
    """`POST /v1/adapters`: an adapter, a mix of several, null for the base; or another strength for what is active."""

    adapter: AdapterName | UnsetType | None = UNSET
    mix: Annotated[list[MixPart], Meta(min_length=1, max_length=8)] | UnsetType = UNSET
    strength: Strength | UnsetType = UNSET
    base_hash: str | UnsetType = UNSET
    """Refused (409) unless the model that is served has this base."""


class AdapterCard(Struct):
    """An adapter on disk; `problem` says why it cannot serve."""

    name: str
    id: str | None = None
    rank: int | None = None
    targets: list[str] = []
    parent: str | None = None
    base_hash: str | None = None
    problem: str | None = None


class ActiveAdapter(Struct, frozen=True):
    """What requests get that name no adapter; `adapter` null is the base model."""

    adapter: str | None = None
    id: str | None = None
    strength: float = 1.0


class AdapterList(Struct):
    """`GET` and `POST /v1/adapters`."""

    active: ActiveAdapter
    data: list[AdapterCard] = []
    problem: str | None = None
    """Why the adapter that was active before could not be taken up again."""
    object: Literal["list"] = "list"


class Health(Struct):
    """`GET /health`. `status` is `ready` once the model answers."""

    status: Literal["loading", "compiling", "ready", "failed", "stopping"]
    version: str
    pid: int
    protocol: int = PROTOCOL
    protocol_min: int = PROTOCOL_MIN
    progress: float | None = None
    """0 to 1 while loading or compiling, if it can be told."""
    message: str = ""
    """What is being done, or what went wrong."""
    remedy: str | None = None
    """The command that mends a failure."""
    model: ModelCard | None = None
    active: ActiveAdapter = ActiveAdapter()
    idle_seconds: float = 0.0
    """Since the last request of a person."""
    uptime_seconds: float = 0.0
    port: int | None = None
    """Loopback port, when one was asked for."""
    remote: str | None = None
    """The host that prompts are sent to, with an engine that is not on this machine."""


class StopRequest(Struct):
    """`POST /v1/runtime/stop`, on the Unix socket alone. `pid` guards against stopping a successor."""

    pid: int


class ErrorBody(Struct):
    """OpenAI's error, with the command that mends it."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None
    remedy: str | None = None


class ErrorReply(Struct):
    """Body of every reply that is not a success."""

    error: ErrorBody
