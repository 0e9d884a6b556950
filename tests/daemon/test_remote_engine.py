"""The remote engine against a server written from the protocol: what it sends, what it understands, and every way to fail."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from protocol_server import Handler, ProtocolServer, says, serving

from local_runtime.engines.protocol import Adapter, Piece, Prompt, Sampling, Stop
from local_runtime.errors import AdapterInvalid, BadRequest, ModelInvalid, ModelMissing, RemoteFailed
from local_runtime.model.synthetic import write_folder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.remote import address as addresses
from local_runtime.remote import connection
from local_runtime.remote.address import parse_address, read_token, token_file
from local_runtime.remote.connection import Answer, Connection
from local_runtime.remote.event_stream import MAX_EVENT_BYTES, EventStream, TooMuch
from local_runtime.remote.opening import open_remote
from local_runtime.remote.remote_engine import RemoteEngine
from local_runtime.remote.wording import SuffixPrompting, SuffixWording

HOLE = Hole("a.py", "python", "def f():\n    ", "\n\nprint(f())\n")


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real tokenizer of a family that fills in the middle."""
    return write_folder(tmp_path_factory.mktemp("tokenizer") / "model")


@pytest.fixture
def engine(server: ProtocolServer) -> Iterator[RemoteEngine]:
    """Without a tokenizer: the server fills in the middle."""
    opened = open_remote(parse_address(server.url, "secret-token"), None, None)
    yield opened
    opened.close()


def prompt(text: str = "def f():\n    ", suffix: str = "\n") -> Prompt:
    return SuffixPrompting().hole(Hole("a.py", "python", text, suffix), [], 4096)


def said(engine: RemoteEngine, sampling: Sampling | None = None, asked: Prompt | None = None) -> list[Piece]:
    return list(engine.stream(asked or prompt(), sampling or Sampling()))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_without_a_tokenizer_the_server_is_given_prefix_and_suffix(
    engine: RemoteEngine, server: ProtocolServer
) -> None:
    asked = SuffixPrompting().hole(HOLE, [Chunk("b.py", "def g(): ...\n")], 4096)
    pieces = said(engine, Sampling(max_tokens=9, temperature=0.5, top_p=0.9, seed=3, stop=("\n\n",)), asked)
    assert text_of(pieces) == "return 1"
    assert pieces[-1].stop is Stop.END
    [body] = server.asked
    assert body["suffix"] == HOLE.suffix
    assert body["prompt"].endswith(HOLE.prefix)
    assert body["prompt"].startswith("# Path: b.py\n# def g(): ...\n")
    expected = {"model": "coder", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["\n\n"]}
    assert {key: body[key] for key in expected} == expected
    assert body["stream"] is True
    assert server.headers_seen[0]["Authorization"] == "Bearer secret-token"


def test_with_a_tokenizer_the_prompt_is_the_familys_own_as_ids(server: ProtocolServer, tokenizer: Path) -> None:
    engine = open_remote(parse_address(server.url), "coder", str(tokenizer))
    fim = FimTokenizer.open(tokenizer)
    asked = fim.prompt(HOLE)
    assert engine.model.context_tokens == 2048
    assert text_of(said(engine, asked=asked)) == "return 1"
    healed = Prompt(asked.token_ids, asked.stop_ids, healed="re")
    said(engine, asked=healed)
    engine.close()
    plain, with_healed = server.asked
    assert tuple(plain["prompt"]) == asked.token_ids
    assert set(plain["stop_token_ids"]) == asked.stop_ids
    assert tuple(with_healed["prompt"]) == asked.token_ids + fim.encode("re")


def test_waiting_is_a_row_of_empty_pieces_and_closing_hangs_up(engine: RemoteEngine, server: ProtocolServer) -> None:
    gone, go_on = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        handler.begin()
        handler.event("ret")
        go_on.set()
        if handler.is_hung_up_on():
            gone.set()

    server.answering = slow
    stream = engine.stream(prompt(), Sampling())
    pieces = [next(stream)]
    while not text_of(pieces):
        pieces.append(next(stream))
    assert text_of(pieces) == "ret"
    assert go_on.wait(10)
    assert next(stream) == Piece()
    before = engine.forwards
    stream.close()  # type: ignore[attr-defined]
    assert gone.wait(10)
    assert engine.forwards == before


def test_a_finished_answer_leaves_the_connection_for_the_next(
    engine: RemoteEngine, server: ProtocolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    answers: list[Answer] = []
    ask = engine._connection.ask

    def remembered(path: str, body: dict[str, Any]) -> Answer:
        answers.append(ask(path, body))
        return answers[-1]

    def late_to_end(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for data in (b'data: {"choices": [{"text": "x", "finish_reason": "stop"}]}\n\n', b"data: [DONE]\n\n", b""):
            handler.raw(b"%x\r\n%s\r\n" % (len(data), data))
            assert read.wait(10)

    read = threading.Event()
    monkeypatch.setattr(engine._connection, "ask", remembered)
    server.answering = late_to_end
    for _ in range(2):
        read.clear()
        assert text_of(said(engine)) == "x"
        read.set()
        assert answers[-1].speaking is not None
        answers[-1].speaking.result(10)  # the rest of the stream is read on the other thread
    assert ports[0] == ports[1]


@pytest.mark.parametrize(
    ("parts", "stop", "expected"),
    [
        (("a\n", "\nb"), ("\n\n",), ("a", Stop.TEXT)),
        (("a", "bc", "d"), ("bcd",), ("a", Stop.TEXT)),
        (("ab", "c"), ("bcd",), ("abc", Stop.END)),
        (("é\n", "ü"), ("never", "1", "2", "3", "4", "\nü"), ("é", Stop.TEXT)),
    ],
)
def test_stop_strings_are_looked_for_here_too(
    engine: RemoteEngine,
    server: ProtocolServer,
    parts: tuple[str, ...],
    stop: tuple[str, ...],
    expected: tuple[str, Stop],
) -> None:
    server.answering = says(*parts)
    pieces = said(engine, Sampling(stop=stop))
    assert (text_of(pieces), pieces[-1].stop) == expected
    assert len(server.asked[-1]["stop"]) <= 4


def test_why_it_ended_is_told_as_exactly_as_the_server_does(engine: RemoteEngine, server: ProtocolServer) -> None:
    reasons = {"length": Stop.LENGTH, "stop": Stop.END, "abort": Stop.CANCELLED}
    for reason, expected in reasons.items():
        server.answering = says("x", finish=reason)
        assert said(engine)[-1].stop is expected

    def by_text(handler: Handler) -> None:  # vLLM
        handler.begin()
        handler.event("x", "stop", stop_reason="\n\n")
        handler.raw(b"data: [DONE]\n\n")

    server.answering = by_text
    assert said(engine)[-1].stop is Stop.TEXT
    server.answering = lambda handler: (handler.begin(), handler.event("x"), handler.raw(b"data: [DONE]\n\n"))[0]
    assert said(engine)[-1].stop is Stop.END


def test_logprobs_are_the_servers_and_stop_ids_end_it(server: ProtocolServer, tokenizer: Path) -> None:
    engine = open_remote(parse_address(server.url), None, str(tokenizer))
    asked = FimTokenizer.open(tokenizer).prompt(HOLE)
    end = min(asked.stop_ids)

    def vllm(handler: Handler) -> None:
        handler.begin()
        handler.event("ab", logprobs={"token_logprobs": [-0.5, -0.25]}, token_ids=[70, 71])
        handler.event("c", logprobs={"token_logprobs": [None]}, token_ids=[72])
        handler.event("", logprobs={"token_logprobs": [-1.0]}, token_ids=[end, 73])
        handler.is_hung_up_on()

    server.answering = vllm
    pieces = [piece for piece in said(engine, asked=asked) if piece != Piece()]
    assert [piece.token_ids for piece in pieces] == [(70, 71), (72,), ()]
    assert [piece.logprobs for piece in pieces] == [(-0.5, -0.25), (), ()]
    assert pieces[-1].stop is Stop.END
    server.answering = says("def", logprobs={"token_logprobs": [-0.3, -0.6]})
    counted = [piece for piece in said(engine, asked=asked) if piece.token_ids]
    assert sum(sum(piece.logprobs) for piece in counted) == pytest.approx(-0.9)
    assert all(len(piece.logprobs) == len(piece.token_ids) for piece in counted)
    server.answering = says("x", token_ids=[10**6])
    with pytest.raises(RemoteFailed, match="another vocabulary"):
        said(engine, asked=asked)
    engine.close()


def with_status(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.whole(status, {"error": {"message": "def secret(): ..."}})


def half(handler: Handler) -> None:
    handler.begin()
    handler.event("ret")


def garbage(handler: Handler) -> None:
    handler.begin()
    handler.raw(b"data: {]\n\n")


def deep(handler: Handler) -> None:
    handler.begin()
    handler.raw(b'data: {"choices": ' + b"[" * 50_000 + b"\n\n")


def huge_line(handler: Handler) -> None:
    handler.begin()
    handler.raw(b"data: " + b"x" * (MAX_EVENT_BYTES + 2))
    handler.is_hung_up_on()


def endless(handler: Handler) -> None:
    handler.begin()
    while True:
        handler.raw(b": keep-alive " + b"x" * 60_000 + b"\n")


def failing_midway(handler: Handler) -> None:
    handler.begin()
    handler.event("ret")
    handler.raw(b'data: {"error": {"message": "out of memory"}}\n\n')


def not_a_stream(handler: Handler) -> None:
    handler.whole(200, {"choices": [{"text": "x"}]})


def packed(handler: Handler) -> None:
    handler.whole(200, gzip.compress(b"data: [DONE]\n\n"), "text/event-stream", **{"Content-Encoding": "gzip"})


def redirecting(handler: Handler) -> None:
    handler.whole(307, b"", Location="http://127.0.0.1:9/v1/completions")


FAILURES: dict[str, tuple[Callable[[Handler], None], type[Exception], str]] = {
    "status 401": (with_status(401), RemoteFailed, "refuses the token"),
    "status 403": (with_status(403), RemoteFailed, "refuses the token"),
    "status 429": (with_status(429), RemoteFailed, "too many requests"),
    "status 400": (with_status(400), BadRequest, "refuses such requests"),
    "status 404": (with_status(404), BadRequest, "refuses such requests"),
    "status 500": (with_status(500), RemoteFailed, "status 500"),
    "half": (half, RemoteFailed, "in the middle of an answer"),
    "garbage": (garbage, RemoteFailed, "no completion"),
    "deep": (deep, RemoteFailed, "no completion"),
    "huge line": (huge_line, RemoteFailed, "more than any completion"),
    "endless": (endless, RemoteFailed, "more than any completion"),
    "failing midway": (failing_midway, RemoteFailed, "in the middle of an answer"),
    "not a stream": (not_a_stream, RemoteFailed, "expected text/event-stream"),
    "packed": (packed, RemoteFailed, "expected text/event-stream"),
    "redirecting": (redirecting, RemoteFailed, "status 307"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_way_to_fail_is_a_sentence_and_nothing_is_asked_twice(
    engine: RemoteEngine, server: ProtocolServer, failure: str
) -> None:
    server.answering, fault, words = FAILURES[failure]
    with pytest.raises(fault, match=words) as raised:
        said(engine)
    assert len(server.asked) == 1
    assert "secret" not in str(raised.value)
    server.answering = says("fine")
    assert text_of(said(engine)) == "fine"


def test_a_silent_server_is_given_up(
    engine: RemoteEngine, server: ProtocolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()

    def silent(handler: Handler) -> None:
        handler.begin()
        if handler.is_hung_up_on():
            gone.set()

    server.answering = silent
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.05)
    with pytest.raises(RemoteFailed, match="too long"):
        said(engine)
    assert gone.wait(10)


def test_nobody_there() -> None:
    with serving() as gone:
        address = parse_address(gone.url)
    with pytest.raises(RemoteFailed, match="cannot be reached"):
        open_remote(address, None, None)
    engine = RemoteEngine(
        Connection(address), SuffixWording(), "coder", context_tokens=4096, vocab_size=257, folder=None
    )
    with pytest.raises(RemoteFailed, match="cannot be reached"):
        said(engine)
    engine.close()


def test_what_it_cannot_do_it_says(engine: RemoteEngine, server: ProtocolServer) -> None:
    mine = Adapter("a" * 64, "", Path("nowhere"), 8, ("q_proj",))
    with pytest.raises(AdapterInvalid, match="with a model on this machine alone"):
        next(engine.stream(prompt(), Sampling(), mine))
    with pytest.raises(AdapterInvalid, match="with a model on this machine alone"):
        next(engine.score(prompt(), (1,), mine))
    with pytest.raises(BadRequest, match="scores nothing"):
        next(engine.score(prompt(), (1,)))
    for asked, sampling in (
        (Prompt(()), Sampling()),
        (Prompt((9999,)), Sampling()),
        (prompt(), Sampling(max_tokens=0)),
    ):
        with pytest.raises(BadRequest):
            next(engine.stream(asked, sampling))
    assert server.asked == []


def test_which_model_is_asked(server: ProtocolServer, tokenizer: Path, tmp_path: Path) -> None:
    address = parse_address(server.url)
    with pytest.raises(BadRequest, match="does not serve 'other', but coder"):
        open_remote(address, "other", None)
    server.models = {"data": [{"id": "a"}, {"id": "b"}]}
    with pytest.raises(BadRequest, match="serves a, b: name the model"):
        open_remote(address, None, None)
    for models in ([1, 2], b"<html>", {"data": [{"id": 3}]}):
        server.models = models
        with pytest.raises(RemoteFailed, match="something else than a list of models"):
            open_remote(address, None, None)
    server.models = {"data": []}
    engine = open_remote(address, "unlisted", None)
    assert engine.model.name == "unlisted"
    engine.close()
    with pytest.raises(ModelMissing, match="neither a folder"):
        open_remote(address, "unlisted", "nowhere")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelInvalid):
        open_remote(address, "unlisted", str(tmp_path))
    assert all("other" not in json.dumps(body) for body in server.asked)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("team.example", "is none"),
        ("ftp://team.example", "is none"),
        ("http://team.example", "in the clear"),
        ("http://10.0.0.1:8000", "in the clear"),
        ("http://127.0.0.1.evil.example", "in the clear"),
        ("https://user:secret@team.example", "more than host and path"),
        ("https://team.example?key=1", "more than host and path"),
        ("https://team.example:99999", "is none"),
        ("https://", "is none"),
    ],
)
def test_addresses_that_are_refused(address: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as raised:
        parse_address(address)
    assert "secret" not in str(raised.value)


def test_addresses_that_are_taken() -> None:
    assert parse_address("https://team.example/v1/").url == "https://team.example"
    assert parse_address("https://team.example:8443/llm/v1").url == "https://team.example:8443/llm"
    assert parse_address("http://[::1]:8000").host == "[::1]:8000"
    assert parse_address("http://localhost:8000").host == "localhost:8000"
    assert parse_address("http://team.example", plain_http=True).host == "team.example"
    assert "hidden" not in repr(parse_address("https://team.example", "hidden"))


def test_the_token_comes_from_the_environment_or_a_private_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(addresses.TOKEN_VARIABLE, raising=False)
    assert read_token() is None
    file = token_file()
    file.parent.mkdir(parents=True)
    file.write_text("from-file\n")
    file.chmod(0o644)
    with pytest.raises(BadRequest, match="can be read by others"):
        read_token()
    file.chmod(0o600)
    assert read_token() == "from-file"
    monkeypatch.setenv(addresses.TOKEN_VARIABLE, "from-environment")
    assert read_token() == "from-environment"
    monkeypatch.setenv(addresses.TOKEN_VARIABLE, "two words")
    with pytest.raises(BadRequest, match="one word of ASCII") as raised:
        read_token()
    assert "two words" not in str(raised.value)


def test_events_are_found_wherever_the_bytes_are_cut() -> None:
    stream = b': comment\r\nevent: x\ndata: {"a": 1}\r\n\r\ndata:[DONE]\n\n'
    for cut in range(len(stream)):
        events = EventStream()
        assert [*events.feed(stream[:cut]), *events.feed(stream[cut:])] == [b'{"a": 1}', b"[DONE]"]
    with pytest.raises(TooMuch):
        list(EventStream().feed(b"x" * (MAX_EVENT_BYTES + 1)))
