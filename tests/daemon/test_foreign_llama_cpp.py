"""llama.cpp's dialect, in conversations as llama.vim and llama.vscode hold them."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from daemon_in_process import running
from overheard import overhear

from local_runtime.daemon.service import DEFAULT_MAX_TOKENS
from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.errors import EngineDied
from local_runtime.prompts.hole import Chunk

pytestmark = pytest.mark.anyio

FIELDS = [
    "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms", "timings/prompt_per_second",
    "timings/predicted_n", "timings/predicted_ms", "timings/predicted_per_token_ms", "timings/predicted_per_second",
    "truncated", "tokens_cached",
]  # fmt: skip


def vim_request(**changes: Any) -> dict[str, Any]:
    """What llama.vim sends on a cursor movement (`llama#fim`)."""
    return {
        "id_slot": 0,
        "input_prefix": "import math\n\ndef area(r):\n",
        "input_suffix": "\n\nprint(area(2))\n",
        "input_extra": [
            {"text": "def old(): pass\n", "time": [12, 345], "filename": "old.py"},
            {"text": "def new(): pass\n", "time": [13, 1], "filename": "new.py"},
        ],
        "prompt": "    return ",
        "n_predict": 128,
        "stop": [],
        "n_indent": 4,
        "top_k": 40,
        "top_p": 0.9,
        "stream": False,
        "samplers": ["top_k", "top_p", "infill"],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000,
        "response_fields": FIELDS,
    } | changes


def vscode_request(**changes: Any) -> dict[str, Any]:
    """What llama.vscode sends (`createRequestPayload`): no `response_fields`, several completions."""
    asked = vim_request(n_cmpl=3, top_p=0.99, t_max_predict_ms=500, lora=[{"id": 0, "scale": 0.5}])
    del asked["response_fields"], asked["stop"]
    return asked | changes


async def test_a_cursor_movement_of_llama_vim() -> None:
    async with running(EchoEngine((Script(("math.pi", " * r")),))) as daemon:
        heard = overhear(daemon)
        reply = await daemon.post("/infill", **vim_request())
        [asked] = daemon.engine.requests
    assert reply.status_code == 200
    answer = reply.json()
    assert sorted(answer) == sorted(FIELDS)
    assert answer["content"] == "math.pi * r"
    assert (answer["truncated"], answer["tokens_cached"]) == (False, answer["timings/prompt_n"] + 11)
    assert answer["timings/predicted_n"] == 11
    [hole] = heard.holes
    assert (hole.prefix, hole.suffix) == ("import math\n\ndef area(r):\n    return ", "\n\nprint(area(2))\n")
    assert heard.chunks == [(Chunk("new.py", "def new(): pass\n"), Chunk("old.py", "def old(): pass\n"))]
    assert asked.sampling
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (128, 0.0)


async def test_warming_up_generates_nothing_and_is_background_work() -> None:
    """What llama.vim sends every second when a chunk was added (`s:ring_update`)."""
    warm = vim_request(
        input_prefix="", input_suffix="", prompt="", n_predict=0, temperature=0.0, samplers=[], t_max_prompt_ms=1,
        t_max_predict_ms=1, response_fields=[""],
    )  # fmt: skip
    async with running() as daemon:
        reply = await daemon.post("/infill", **warm)
        metrics = (await daemon.http.get("/metrics")).text
        [asked] = daemon.engine.requests
    assert (reply.status_code, reply.json()) == (200, {})
    assert b"def new(): pass" in bytes(asked.prompt.token_ids)
    assert 'priority="background"' in metrics


async def test_warming_up_with_one_token_is_background_work_too() -> None:
    """How the first versions of llama.vim and llama.vscode did it."""
    async with running() as daemon:
        await daemon.post("/infill", **vscode_request(n_predict=1, t_max_predict_ms=1, prompt="", input_prefix=""))
        assert 'priority="person"' not in (await daemon.http.get("/metrics")).text


async def test_a_completion_of_llama_vscode() -> None:
    async with running(EchoEngine((Script(("math.pi",)), Script(("x",))))) as daemon:
        reply = await daemon.post("/infill", **vscode_request())
        single = await daemon.post("/infill", **vscode_request(n_cmpl=1))
        sampled = await daemon.post("/infill", **vscode_request(temperature=0.7, n_cmpl=2, seed=3))
        last = daemon.engine.requests[-1].sampling
    [answer] = reply.json()  # greedy choices would all be the same
    assert answer["content"] == "math.pi"
    assert (answer["stop"], answer["stop_type"], answer["model"]) == (True, "eos", "echo")
    assert answer["timings"]["predicted_n"] == 7
    assert answer["generation_settings"]["samplers"] == []  # honest: neither top_k nor infill was applied
    assert answer["generation_settings"]["n_ctx"] == 8192  # its status bar shows how much of it is used
    assert single.json()["content"] == "x"
    assert [choice["index"] for choice in sampled.json()] == [0, 1]
    assert sampled.json()[0]["generation_settings"]["samplers"] == ["top_p", "temperature"]
    assert last
    assert (last.temperature, last.top_p, last.seed) == (0.7, 0.99, 4)


async def test_a_stream_has_one_event_per_piece_and_no_done() -> None:
    async with running(EchoEngine((Script(("a\n", "b"), delay_ms=30),))) as daemon:
        reply = await daemon.post("/infill", **vscode_request(stream=True, n_indent=0))
    events = [json.loads(line.removeprefix("data: ")) for line in reply.text.split("\n\n") if line]
    assert [(event["content"], event["stop"]) for event in events] == [("a\n", False), ("b", True)]
    assert events[0]["tokens"] == [97, 10]
    assert (events[-1]["tokens_predicted"], events[-1]["has_new_line"]) == (3, True)


async def test_a_line_that_leaves_the_block_ends_the_completion() -> None:
    text = ("x = 1\n", "    y = 2\n\n    ", "z = 3\n  le", "ft = 4\n")
    async with running(EchoEngine(default=Script(text))) as daemon:
        kept = (await daemon.post("/infill", **vscode_request(n_cmpl=1))).json()
        whole = (await daemon.post("/infill", **vscode_request(n_cmpl=1, n_indent=0))).json()
        streamed = (await daemon.post("/infill", **vscode_request(n_cmpl=1, stream=True))).text
    assert kept["content"] == "x = 1\n    y = 2\n\n    z = 3\n  "
    assert kept["stop_type"] == "limit"
    assert whole["content"] == "".join(text)
    parts = [json.loads(line.removeprefix("data: "))["content"] for line in streamed.split("\n\n") if line]
    assert "".join(parts) == kept["content"]


async def test_when_its_time_is_over_a_completion_ends_after_a_line() -> None:
    hold = threading.Event()
    async with running(EchoEngine((Script(("one", " line\n", "two", hold.wait.__name__)),))) as daemon:
        reply = await daemon.post("/infill", **vscode_request(n_cmpl=1, t_max_predict_ms=0))
    assert (reply.json()["content"], reply.json()["stop_type"]) == ("one line\n", "limit")


async def test_a_prompt_with_sentinels_is_taken_apart() -> None:
    """twinny's `llamacpp`, and llm-ls' with this address: the layout of some model, made by the client."""
    async with running(EchoEngine(default=Script(("mid",)))) as daemon:
        heard = overhear(daemon)
        reply = await daemon.post("/completion", prompt="<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", n_predict=-1)
        await daemon.post("/completion", prompt="no hole")
        tokens = [request.sampling.max_tokens for request in daemon.engine.requests if request.sampling]
    assert reply.json()["content"] == "mid"
    assert [(hole.prefix, hole.suffix) for hole in heard.holes] == [("a", "b")]
    assert heard.plain_texts[-1] == "no hole"
    assert min(tokens) > DEFAULT_MAX_TOKENS


async def test_a_context_beyond_all_bounds_is_trimmed_to_the_newest_chunks() -> None:
    chunks = [{"text": f"chunk {n}\n" * 500, "filename": f"{n}.py"} for n in range(1000)]
    async with running() as daemon:
        heard = overhear(daemon)
        reply = await daemon.post("/infill", **vim_request(input_extra=chunks, input_prefix="p\n" * 50_000))
        [asked] = daemon.engine.requests
    assert reply.status_code == 200
    assert heard.chunks[0][0].path == "999.py"
    assert len(asked.prompt.token_ids) <= daemon.engine.model.context_tokens - 128


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_up_ends_the_generation(stream: bool) -> None:
    async with running(EchoEngine((Script(("a", "b"), hold=threading.Event()),))) as daemon:
        request = asyncio.create_task(daemon.post("/infill", **vscode_request(stream=stream)))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        request.cancel()
        await daemon.until(lambda: daemon.engine.aborts == 1)


async def test_problems_are_said_in_its_words() -> None:
    died = EngineDied("the engine went away", "understudy runtime logs")
    async with running(EchoEngine((Script((), failure=died), Script(("a",), failure=died)))) as daemon:
        broken = await daemon.post("/infill", **vim_request())
        late = await daemon.post("/infill", **vim_request(stream=True))
        wrong = await daemon.post("/infill", **vim_request(n_predict="many"))
        props = (await daemon.http.get("/props")).json()
        health = await daemon.http.get("/llama.cpp/health")
    assert (broken.status_code, broken.json()["error"]["type"]) == (500, "server_error")
    assert json.loads(late.text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == 500
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, 400)
    assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (1, 8192)
    assert health.json() == {"status": "ok"}


async def test_before_the_model_answers_it_is_loading() -> None:
    hold = threading.Event()

    def opening(_report: Any) -> EchoEngine:
        assert hold.wait(20)
        return EchoEngine()

    async with running(opening=opening) as daemon:
        replies = [await daemon.post("/infill", **vim_request()), await daemon.http.get("/llama.cpp/health")]
        hold.set()
    for reply in replies:
        assert (reply.status_code, reply.json()["error"]["type"]) == (503, "unavailable_error")
