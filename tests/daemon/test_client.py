"""The client, against the real daemon inside the test's loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import aclosing

import httpx
import pytest
from daemon_in_process import running

from local_runtime.client.client import Ask, AsyncClient, Client
from local_runtime.client.messages import version_key
from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.engines.protocol import Sampling, Stop
from local_runtime.errors import AdapterInvalid, BadRequest, DaemonUnreachable, EngineDied
from local_runtime.prompts.hole import Chunk, Hole

pytestmark = pytest.mark.anyio
HOLE = Hole("a.py", "python", "x = ", "\n")


def script(*pieces: str, **more: float) -> EchoEngine:
    return EchoEngine((Script(pieces, **more),))  # type: ignore[arg-type]


async def test_a_completion_is_summed_up() -> None:
    async with running(script("12", "3")) as daemon:
        done = await daemon.client.complete(HOLE, [Chunk("b.py", "import os")], Sampling(max_tokens=9, stop=("\n",)))
        [request] = daemon.engine.requests
    assert (done.text, done.stop, done.n_tokens, done.adapter_id) == ("123", Stop.END, 3, None)
    assert done.logprob == pytest.approx(-0.25)
    assert 0 < done.first_token_ms <= done.total_ms
    assert request.sampling and (request.sampling.max_tokens, request.sampling.stop) == (9, ("\n",))


async def test_a_stream_gives_what_the_engine_gave() -> None:
    async with running(script("12", "3")) as daemon:
        pieces = [piece async for piece in daemon.client.stream(HOLE)]
    assert "".join(piece.text for piece in pieces) == "123", "what comes at once may come together"
    assert [token for piece in pieces for token in piece.token_ids] == [49, 50, 51]
    assert [piece.stop for piece in pieces if piece.stop is not None] == [pieces[-1].stop] == [Stop.END]


async def test_at_the_deadline_there_is_what_there_is() -> None:
    async with running(script("1", *"x" * 10_000, delay_ms=50.0)) as daemon:
        done = await daemon.client.complete(HOLE, ask=Ask(deadline_ms=1_000))
        assert done.stop is Stop.CANCELLED
        assert done.text.startswith("1x")
        await daemon.until(lambda: daemon.engine.aborts == 1)


async def test_a_deadline_before_the_first_piece_gives_nothing() -> None:
    async with running(EchoEngine((Script(("1",), hold=threading.Event()),))) as daemon:
        pieces = [piece async for piece in daemon.client.stream(HOLE, ask=Ask(deadline_ms=1_000))]
        assert [(piece.text, piece.stop) for piece in pieces] == [("", Stop.CANCELLED)]
        await daemon.until(lambda: daemon.engine.aborts == 1)


async def test_closing_the_stream_cancels_in_the_daemon() -> None:
    async with running(script(*"x" * 10_000, delay_ms=2.0)) as daemon:
        async with aclosing(daemon.client.stream(HOLE)) as pieces:
            assert (await anext(pieces)).text.startswith("x")
        await daemon.until(lambda: daemon.engine.aborts == 1)


async def test_a_superseded_stream_ends_as_cancelled() -> None:
    async with running(EchoEngine((Script(("1",), hold=threading.Event()), Script(("2",))))) as daemon:
        older = asyncio.create_task(daemon.client.complete(HOLE, ask=Ask(document="a.py")))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        newer = await daemon.client.complete(HOLE, ask=Ask(document="a.py"))
        assert (newer.text, (await older).stop) == ("2", Stop.CANCELLED)


async def test_the_daemons_errors_are_faults_here() -> None:
    died = EngineDied("the engine went away")
    async with running(EchoEngine((Script(("1",), failure=died),))) as daemon:
        with pytest.raises(EngineDied, match="went away"):
            await daemon.client.complete(HOLE)
        with pytest.raises(AdapterInvalid, match="no adapter 'gone'"):
            await daemon.client.complete(HOLE, ask=Ask(adapter="gone"))
        with pytest.raises(BadRequest, match="not served"):
            await daemon.client.complete(HOLE, ask=Ask(model="another"))
        with pytest.raises(BadRequest, match="surrogate"):
            await daemon.client.complete(Hole("a.py", "python", "\ud800", ""))
        with pytest.raises(BadRequest, match="strength"):
            await daemon.client.score(HOLE, "1", ask=Ask(strength=7.0))


async def test_a_score() -> None:
    async with running(EchoEngine(default=Script(("1",)))) as daemon:
        answer = await daemon.client.score(HOLE, "12", ask=Ask(background=True))
    assert (answer.logprobs, answer.greedy, answer.tokens) == ([-0.25, -0.25], [True, False], ["1", "2"])


async def test_a_daemon_that_goes_in_the_middle_of_a_stream() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with AsyncClient(transport=Redirected(port)) as client:
        with pytest.raises(EngineDied, match="in the middle"):
            await client.complete(HOLE)
    server.close()
    await server.wait_closed()


class Redirected(httpx.AsyncHTTPTransport):
    """To a port of this machine, whatever the address."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


async def test_no_daemon_and_none_to_be_started() -> None:
    async with AsyncClient(start=False) as client:
        with pytest.raises(DaemonUnreachable, match="not running"):
            await client.complete(HOLE)
        assert not await client.stop()


def test_the_waiting_client_has_every_method_of_the_other() -> None:
    public = {name for name in vars(AsyncClient) if not name.startswith("_")} - {"close"}
    assert public <= set(vars(Client))


def test_versions_compare_as_numbers() -> None:
    assert version_key("0.10.0") > version_key("0.9.9")
    assert version_key("1.0") < version_key("1.0.1")
    assert version_key("1.0rc1") == version_key("1.0")


def test_importing_the_client_is_light() -> None:
    heavy = ("tvm", "tvm_ffi", "torch", "numpy", "tokenizers", "starlette", "uvicorn", "prometheus_client")
    code = f"import sys, local_runtime.client.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
