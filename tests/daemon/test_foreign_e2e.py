"""Other programs' clients and a real daemon on a real TCP port: each dialect, and curl as llama.vim runs it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_runtime.client import lifecycle
from local_runtime.client.client import Client
from local_runtime.client.sockets import token_path
from local_runtime.daemon.guard import read_token

pytestmark = pytest.mark.e2e
ANSWER = "math.pi * r"
SLOW = {"pieces": ["a"] * 10_000, "delay_ms": 5}


@dataclass(frozen=True)
class Port:
    """A daemon's loopback port."""

    url: str
    token: str

    @property
    def address(self) -> str:
        """With the token in it."""
        return f"{self.url}/t/{self.token}"


@pytest.fixture
def port(home: Path, tmp_path: Path) -> Iterator[Port]:
    """A daemon of its own process, which always gives the same answer."""
    script = tmp_path / "echo.json"
    script.write_text(json.dumps({"default": {"pieces": [ANSWER]}}))
    with Client(overrides={"engine": f"echo:{script}", "port": 0}) as client:
        health = client.wait_ready()
        yield Port(f"http://127.0.0.1:{health.port}", read_token(token_path()))
    lifecycle.kill()


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/infill", {"input_prefix": "x", "input_suffix": "y"}, lambda answer: answer["content"]),
        ("/llama.cpp/completion", {"prompt": "x"}, lambda answer: answer["content"]),
        ("/generate", {"inputs": "x"}, lambda answer: answer["generated_text"]),
        ("/models/bigcode/starcoder", {"inputs": "x"}, lambda answer: answer[0]["generated_text"]),
        ("/api/generate", {"prompt": "x", "suffix": "y", "stream": False}, lambda answer: answer["response"]),
        ("/v1/engines/codegen/completions", {"prompt": "x"}, lambda answer: answer["choices"][0]["text"]),
    ],
)
def test_every_dialect_over_tcp(port: Port, path: str, body: dict[str, Any], text: Callable[[Any], str]) -> None:
    by_path = httpx.post(port.address + path, json=body)
    by_header = httpx.post(port.url + path, json=body, headers={"Authorization": f"Bearer {port.token}"})
    assert (text(by_path.json()), text(by_header.json())) == (ANSWER, ANSWER)
    assert httpx.post(port.url + path, json=body).status_code == 401


def test_a_client_that_hangs_up_in_a_stream_stops_the_generation(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "echo.json"
    script.write_text(json.dumps({"default": SLOW}))
    with Client(overrides={"engine": f"echo:{script}", "port": 0}) as client:
        found = client.wait_ready().port
        assert found is not None
        url, body = (
            f"http://127.0.0.1:{found}/t/{read_token(token_path())}",
            json.dumps({"prompt": "x", "n_predict": -1}),
        )
        with httpx.stream("POST", f"{url}/api/generate", content=body) as reply:
            next(reply.iter_lines())
        # A client that dies with its socket, as a killed curl.
        with socket.create_connection(("127.0.0.1", found)) as raw:
            raw.sendall(f"POST {httpx.URL(url).path}/infill HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n{body}".encode())  # fmt: skip
        deadline = time.monotonic() + 20
        while 'outcome="hung_up"} 2.0' not in httpx.get(f"{url}/metrics").text:
            assert time.monotonic() < deadline
    lifecycle.kill()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_as_llama_vim_runs_it(port: Port) -> None:
    request = {"input_prefix": "import math\n", "input_suffix": "\n", "input_extra": [], "prompt": "area = ",
               "n_predict": 128, "stop": [], "n_indent": 0, "stream": False, "t_max_predict_ms": 250,
               "response_fields": ["content", "timings/prompt_n", "truncated"]}  # fmt: skip
    run = subprocess.run(
        ["curl", "--silent", "--no-buffer", "--request", "POST", "--url", f"{port.url}/infill", "--header",
         "Content-Type: application/json", "--data", "@-", "--header", f"Authorization: Bearer {port.token}"],
        input=json.dumps(request), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout) == {"content": ANSWER, "timings/prompt_n": 19, "truncated": False}
