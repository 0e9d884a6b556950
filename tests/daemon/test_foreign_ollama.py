"""Ollama's dialect, in conversations as Continue, twinny and llm-ls hold them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import pytest
from daemon_in_process import running
from overheard import overhear

from local_runtime.daemon.foreign.asking import UNLIMITED_TOKENS
from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.errors import EngineDied
from local_runtime.prompts.hole import Chunk, Hole

pytestmark = pytest.mark.anyio


def continue_request(**changes: Any) -> dict[str, Any]:
    """What Continue sends once `/api/show` told that a suffix may be sent (`_streamFim`)."""
    options = {"temperature": 0.01, "num_predict": 512, "stop": ["<|endoftext|>", "\n\n"], "num_ctx": 8192}
    return {
        "model": "qwen2.5-coder:1.5b", "prompt": "def gcd(a, b):\n", "suffix": "\n    return a", "options": options,
        "keep_alive": 1800, "stream": True,
    } | changes  # fmt: skip


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_completion_of_continue() -> None:
    async with running(EchoEngine((Script(("    while b:", "\n        pass\n\nx"), delay_ms=30),))) as daemon:
        heard = overhear(daemon)
        show = (await daemon.post("/api/show", name="qwen2.5-coder:1.5b")).json()
        reply = await daemon.post("/api/generate", **continue_request())
        [asked] = daemon.engine.requests
    assert ".Suffix" in show["template"]
    # Continue matches every line of the parameters with this, and takes no answer at all if one does not fit.
    assert all(re.match(r'^(\S+)\s+((?:".*")|\S+)$', line) for line in show["parameters"].split("\n"))
    assert reply.headers["content-type"] == "application/x-ndjson"
    said = lines(reply.text)
    assert [line["response"] for line in said] == ["    while b:", "\n        pass", ""]
    assert [line["done"] for line in said] == [False, False, True]
    assert {line["model"] for line in said} == {"echo:latest"}
    assert said[-1]["done_reason"] == "stop"
    assert said[-1]["prompt_eval_count"] == 15
    assert said[-1]["total_duration"] == said[-1]["prompt_eval_duration"] + said[-1]["eval_duration"] > 30_000_000
    assert heard.holes == [Hole("", "", "def gcd(a, b):\n", "\n    return a")]
    assert asked.sampling
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (512, 0.01)


async def test_a_completion_of_twinny() -> None:
    """A layout that twinny made by the model's name, `num_predict` -1, and neighbouring files in it."""
    prompt = (
        "<|repo_name|>shop\n<|file_sep|>src/tax.py\nRATE = 0.19\n<|file_sep|>src/shop.py\n"
        "<|fim_prefix|>from tax import \n<|fim_suffix|>\nprint(RATE)<|fim_middle|>"
    )
    options = {"temperature": 0.2, "num_predict": -1, "stop": ["<|endoftext|>", "<|fim_prefix|>"]}
    body = {"model": "any", "prompt": prompt, "stream": True, "keep_alive": "5m", "options": options}
    async with running(EchoEngine(default=Script(("RATE",)))) as daemon:
        heard = overhear(daemon)
        reply = await daemon.post("/api/generate", **body)
        names = [model["name"] for model in (await daemon.http.get("/api/tags")).json()["models"]]
        [asked] = daemon.engine.requests
    assert "".join(line["response"] for line in lines(reply.text)) == "RATE"
    assert names == ["echo:latest"]
    assert heard.holes == [Hole("src/shop.py", "", "from tax import \n", "\nprint(RATE)")]
    assert heard.chunks == [(Chunk("src/tax.py", "RATE = 0.19\n"),)]
    assert asked.sampling
    assert asked.sampling.max_tokens == UNLIMITED_TOKENS


@pytest.mark.parametrize("suffix", ["\n    return a", ""])
async def test_files_that_continue_puts_before_the_prefix_are_chunks(suffix: str) -> None:
    """What Continue does for a model whose name has qwen and coder in it (`qwenMultifileFimTemplate`)."""
    prompt = (
        "<|repo_name|>maths\n<|file_sep|>lcm.py\nfrom gcd import gcd\n"
        "<|file_sep|>gcd.py<|system_separator_istruction_repository_level|>def gcd(a, b):\n"
    )
    async with running() as daemon:
        heard = overhear(daemon)
        await daemon.post("/api/generate", **continue_request(prompt=prompt, suffix=suffix))
    assert heard.holes == [Hole("gcd.py", "", "def gcd(a, b):\n", suffix)]
    assert heard.chunks == [(Chunk("lcm.py", "from gcd import gcd\n"),)]


async def test_where_a_file_ends_twinny_sends_files_and_no_hole() -> None:
    prompt = "<|file_sep|>src/tax.py\nRATE = 0.19\n<|file_sep|>src/shop.py\nfrom tax import "
    async with running() as daemon:
        heard = overhear(daemon)
        await daemon.post("/api/generate", model="any", prompt=prompt, stream=True)
    assert heard.holes == [Hole("src/shop.py", "", "from tax import ", "")]
    assert heard.chunks == [(Chunk("src/tax.py", "RATE = 0.19\n"),)]


async def test_an_empty_prompt_only_warms_the_model_up() -> None:
    """What twinny sends before the first keystroke, and Ollama's own way to load a model."""
    async with running() as daemon:
        warm = await daemon.post("/api/generate", model="m", prompt="", stream=True, options={"num_predict": 1})
        load = await daemon.post("/api/generate", model="m", stream=False)
    [line] = lines(warm.text)
    for answer in (line, load.json()):
        assert (answer["response"], answer["done"], answer["done_reason"]) == ("", True, "load")


async def test_without_a_stream_one_object_has_it_all() -> None:
    """llm-ls' backend `ollama`."""
    body = {"model": "m", "prompt": "<PRE> a <SUF> b <MID>", "stream": False, "options": {"num_predict": 2, "seed": 3}}
    async with running(EchoEngine(default=Script(("xyz",)))) as daemon:
        heard = overhear(daemon)
        answer = (await daemon.post("/api/generate", **body)).json()
        plain = (await daemon.post("/api/generate", model="m", prompt="a", stream=False, raw=True)).json()
    assert (answer["response"], answer["done"], answer["done_reason"], answer["eval_count"]) == (
        "xy",
        True,
        "length",
        2,
    )
    assert [(hole.prefix, hole.suffix) for hole in heard.holes] == [("a", " b")]
    assert plain["response"] == "xyz"
    assert heard.plain_texts[-1] == "a"


async def test_problems_are_said_in_its_words() -> None:
    died = EngineDied("the engine went away", "understudy runtime logs")
    async with running(EchoEngine((Script((), failure=died), Script(("a",), failure=died)))) as daemon:
        broken = await daemon.post("/api/generate", **continue_request())
        late = await daemon.post("/api/generate", **continue_request())
        refused = [
            await daemon.post("/api/generate", **continue_request(format="json")),
            await daemon.post("/api/generate", **continue_request(images=["aGk="])),
            await daemon.post("/api/generate", **continue_request(options={"stop": [7]})),
            await daemon.post("/api/show", name=["x"]),
        ]
    assert (broken.status_code, broken.json()["error"].split(" (")[0]) == (500, "the engine went away")
    assert lines(late.text)[-1]["error"].startswith("the engine went away")
    assert "format" in refused[0].json()["error"] and "leave out" in refused[0].json()["error"]
    for reply in refused:
        assert reply.status_code == 400
        assert isinstance(reply.json()["error"], str)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_up_ends_the_generation(stream: bool) -> None:
    async with running(EchoEngine((Script(("a", "b"), hold=threading.Event()),))) as daemon:
        request = asyncio.create_task(daemon.post("/api/generate", **continue_request(stream=stream)))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        request.cancel()
        await daemon.until(lambda: daemon.engine.aborts == 1)
