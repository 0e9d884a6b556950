"""Bytes that no decent client sends: each costs at most a 4xx with a sentence, and the daemon goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from daemon_in_process import TOKEN, Daemon, running

from local_runtime.client.wire import MAX_BODY_BYTES
from local_runtime.daemon import http, server

pytestmark = pytest.mark.anyio


async def talk(daemon: Daemon, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send raw bytes on the Unix socket; all that comes back until the daemon hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(daemon.socket))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def alive(daemon: Daemon) -> bool:
    return (await daemon.post("/v1/completions", prompt="x")).status_code == 200


BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "not UTF-8": b'{"prompt": "\xff"}',
    "deep": b"[" * 100_000,
    "deep inside": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": b'{"prompt": "x", "max_tokens": 1' + b"0" * 5000 + b"}",
    "negative": b'{"prompt": "x", "max_tokens": -1}',
    "infinite": b'{"prompt": "x", "temperature": 1e999}',
    "NaN": b'{"prompt": "x", "temperature": NaN}',
    "wrong type": b'{"prompt": {"a": 1}}',
    "too many choices": b'{"prompt": "x", "n": 1000}',
    "too many stops": json.dumps({"prompt": "x", "stop": ["a"] * 1000}).encode(),
    "empty stop": b'{"prompt": "x", "stop": ""}',
    "negative seed": b'{"prompt": "x", "seed": -1}',
    "strength": b'{"prompt": "x", "strength": 3}',
    "a token beyond": b'{"prompt": [4294967296]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/score", "/v1/adapters", "/v1/runtime/stop"])
async def test_a_bad_body_is_a_400_with_a_sentence(path: str, body: bytes) -> None:
    async with running() as daemon:
        reply = await daemon.http.post(path, content=body)
        assert 400 <= reply.status_code < 500
        assert len(reply.json()["error"]["message"]) > 20
        assert await alive(daemon)


async def test_a_lone_surrogate_is_served() -> None:
    async with running() as daemon:
        reply = await daemon.http.post("/v1/completions", content=b'{"prompt": "a\\ud800b"}')
        assert reply.status_code in (200, 400)
        assert await alive(daemon)


async def test_a_50_mb_body_is_a_413() -> None:
    async with running() as daemon:
        reply = await daemon.http.post("/v1/completions", content=b'{"prompt": "' + b"x" * 50_000_000 + b'"}')
        assert reply.status_code == 413
        assert "8 MiB" in reply.json()["error"]["message"]
        assert await alive(daemon)


async def test_the_largest_body_that_is_allowed_is_trimmed_to_the_context() -> None:
    async with running() as daemon:
        body = b'{"prompt": "' + b"x" * (MAX_BODY_BYTES - 100) + b'"}'
        assert (await daemon.http.post("/v1/completions", content=body)).status_code == 200


async def test_a_body_that_trickles_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.1)
    async with running() as daemon:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n"
        answer = await talk(daemon, head, b"{", b" ")
        assert answer.startswith(b"HTTP/1.1 408")
        assert await alive(daemon)


@pytest.mark.parametrize("parts", [(), (b"GET ",), (b"GET /health HTTP/1.1\r\n",) + (b"X-A: b\r\n",) * 20])
async def test_a_head_that_trickles_loses_its_connection(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    async with running() as daemon:
        with contextlib.suppress(ConnectionError):
            assert await talk(daemon, *parts, pause=0.02) == b""
        assert await alive(daemon)


async def test_a_second_head_that_trickles_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    async with running() as daemon:
        answer = await talk(daemon, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /hea")
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_400(request_bytes: bytes) -> None:
    async with running() as daemon:
        answer = await talk(daemon, request_bytes)
        assert answer.startswith(b"HTTP/1.1 4")
        assert await alive(daemon)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running() as daemon:
        one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await talk(daemon, one * 3 + last)
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.rstrip().endswith(b'"object":"list"}')


async def test_connections_beyond_the_limit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
    async with running() as daemon:
        held = [await asyncio.open_unix_connection(str(daemon.socket)) for _ in range(4)]
        reader, writer = await asyncio.open_unix_connection(str(daemon.socket))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        for _, open_writer in [*held, (reader, writer)]:
            open_writer.close()
        await daemon.until(lambda: True)
        assert await alive(daemon)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("PUT", "/health", 405), ("GET", "/v1/completions", 405)]
)
async def test_unknown_routes_answer_in_the_same_shape(method: str, path: str, status: int) -> None:
    async with running() as daemon:
        reply = await daemon.http.request(method, path)
    assert reply.status_code == status
    assert "openapi.json" in reply.json()["error"]["message"]


@pytest.mark.parametrize("wait", ["x", "-1", "61", "nan", "inf"])
async def test_health_waits_for_a_number_of_seconds(wait: str) -> None:
    async with running() as daemon:
        reply = await daemon.http.get("/health", params={"wait": wait})
    assert reply.status_code == 400


async def over_tcp(daemon: Daemon, headers: dict[str, str], path: str = "/health", body: Any = None) -> tuple[int, str]:
    """Status and body of a request to the loopback port, with these headers exactly."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{'POST' if content else 'GET'} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    writer.write(
        "\r\n".join([*lines, f"Content-Length: {len(content)}", "Connection: close", "", ""]).encode() + content
    )
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ", 2)[1]), answer


GOOD = {"Host": "127.0.0.1", "Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:1234"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Authorization": f"bearer  {TOKEN}"}, 200),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer é"}, 401),
        ({"Authorization": ""}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_the_port_asks_for_the_token_and_for_this_machines_name(changes: dict[str, str], status: int) -> None:
    async with running() as daemon:
        found, answer = await over_tcp(daemon, GOOD | changes)
    assert found == status
    if status != 200:
        assert '"message"' in answer


async def test_the_port_serves_completions_but_cannot_stop_the_daemon() -> None:
    async with running() as daemon:
        assert (await over_tcp(daemon, GOOD, "/v1/completions", {"prompt": "x"}))[0] == 200
        assert (await over_tcp(daemon, GOOD, "/v1/runtime/stop", {"pid": 1}))[0] == 403
