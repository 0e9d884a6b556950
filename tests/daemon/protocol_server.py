"""A completion server written from OpenAI's protocol alone, which does what it is told: the ways in which servers fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answering = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request. `server.answering` says what to do with a POST."""

    protocol_version = "HTTP/1.1"
    server: ProtocolServer

    def do_GET(self) -> None:
        if self.path.endswith("/v1/models"):
            self.whole(200, self.server.models)
        else:
            self.whole(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(self.body)
        self.server.headers_seen.append(dict(self.headers))
        self.server.answering(self)

    def whole(self, status: int, body: Any, media_type: str = "application/json", **headers: str) -> None:
        """A reply with a length."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def begin(self, media_type: str = "text/event-stream") -> None:
        """A stream that ends when the connection does."""
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, text: str = "", finish: str | None = None, **more: Any) -> None:
        """One part of a completion."""
        choice = {"index": 0, "text": text, "finish_reason": finish, **more}
        self.raw(b"data: " + json.dumps({"object": "text_completion", "choices": [choice]}).encode() + b"\n\n")

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def is_hung_up_on(self) -> bool:
        """Wait for the client; true when it is gone."""
        self.connection.settimeout(10)
        try:
            return self.connection.recv(1) == b""
        except ConnectionError:
            return True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class ProtocolServer(ThreadingHTTPServer):
    """On a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: Any = {"object": "list", "data": [{"id": "coder", "object": "model", "max_model_len": 2048}]}
        self.answering: Answering = says("return 1")
        self.asked: list[Any] = []
        self.headers_seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what is tested here."""


def says(*texts: str, finish: str = "stop", **more: Any) -> Answering:
    """A good answer in parts."""

    def answer(handler: Handler) -> None:
        handler.begin()
        for text in texts:
            handler.event(text, **more)
        handler.event("", finish)
        handler.raw(b"data: [DONE]\n\n")

    return answer


@contextmanager
def serving() -> Iterator[ProtocolServer]:
    """The server, while the block runs."""
    server = ProtocolServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
