"""FauxPilot's dialect, in conversations as its VS Code client and the first Copilot hold them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from daemon_in_process import running, sse
from overheard import overhear

from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.prompts.hole import Hole

pytestmark = pytest.mark.anyio
PATH = "/v1/engines/codegen/completions"


def copilot(**changes: Any) -> dict[str, Any]:
    """What the first Copilot sends to `copilot-codex`."""
    return {
        "prompt": "# Path: gcd.py\ndef gcd(a, b):\n", "suffix": "\n    return a", "max_tokens": 500, "temperature": 0,
        "top_p": 1, "n": 1, "stop": ["\n\n\n"], "nwo": "me/gcd", "stream": True,
        "extra": {"language": "python", "next_indent": 4, "trim_by_indentation": True, "prompt_tokens": 12,
                  "suffix_tokens": 5},
    } | changes  # fmt: skip


async def test_a_completion_of_vscode_fauxpilot() -> None:
    body = {"model": "fastertransformer", "prompt": "x =", "max_tokens": 200, "temperature": 0.1, "stop": ["\n"]}
    async with running(EchoEngine((Script((" 1", "\ny")),))) as daemon:
        heard = overhear(daemon)
        answer = (await daemon.post(PATH, **body)).json()
        [asked] = daemon.engine.requests
    assert (answer["object"], answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == (
        "text_completion", " 1", "stop",
    )  # fmt: skip
    assert answer["id"].startswith("cmpl-")
    assert heard.plain_texts == ["x ="]
    assert asked.sampling
    assert (asked.sampling.max_tokens, asked.sampling.temperature, asked.sampling.stop) == (200, 0.1, ("\n",))


async def test_a_completion_of_copilot() -> None:
    path = "/v1/engines/copilot-codex/completions"
    async with running(EchoEngine(default=Script(("    while", " b"), delay_ms=30))) as daemon:
        heard = overhear(daemon)
        reply = await daemon.post(path, **copilot())
        several = await daemon.post(path, **copilot(n=10, stream=False, temperature=0.4))
        session = (await daemon.http.get("/copilot_internal/v2/token")).json()
    assert "".join(event["choices"][0]["text"] for event in sse(reply.text)) == "    while b"
    assert heard.holes[0] == Hole("", "python", "# Path: gcd.py\ndef gcd(a, b):\n", "\n    return a")
    assert len(several.json()["choices"]) == 8
    assert session["expires_at"] > 2_000_000_000


async def test_what_it_leaves_out_has_fauxpilots_defaults() -> None:
    async with running() as daemon:
        reply = await daemon.post(PATH, prompt=["one"], suffix="", stop=None, n=None, top_p=None, logprobs=None)
        [asked] = daemon.engine.requests
        two = await daemon.post(PATH, prompt=["one", "two"])
    assert reply.status_code == 200
    assert asked.sampling
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (16, 0.0)
    assert (two.status_code, two.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_up_ends_the_generation(stream: bool) -> None:
    async with running(EchoEngine((Script(("a", "b"), hold=threading.Event()),))) as daemon:
        request = asyncio.create_task(daemon.post(PATH, **copilot(stream=stream)))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        request.cancel()
        await daemon.until(lambda: daemon.engine.aborts == 1)
