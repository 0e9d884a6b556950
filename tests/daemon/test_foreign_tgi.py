"""Text Generation Inference's dialect, in conversations as llm-ls and the clients of its own library hold them."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from daemon_in_process import running
from overheard import overhear

from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.errors import EngineDied

pytestmark = pytest.mark.anyio

INPUTS = "<fim_prefix>import numpy as np\n\n<fim_suffix>def hello():\n    print()<fim_middle>"


def llm_ls(**parameters: Any) -> dict[str, Any]:
    """What llm-ls 0.5 sends for llm-vscode with its StarCoder template (`build_body`)."""
    settings = {"max_new_tokens": 60, "temperature": 0.2, "do_sample": True, "top_p": 0.95}
    return {"inputs": INPUTS, "parameters": settings | {"return_full_text": False} | parameters}


async def test_a_completion_of_llm_ls() -> None:
    async with running(EchoEngine((Script(("import scipy", " as sp")),))) as daemon:
        heard = overhear(daemon)
        reply = await daemon.post("/generate", **llm_ls())
        [asked] = daemon.engine.requests
    assert (reply.status_code, reply.json()) == (200, {"generated_text": "import scipy as sp"})
    [hole] = heard.holes
    assert (hole.prefix, hole.suffix) == ("import numpy as np\n\n", "def hello():\n    print()")
    assert asked.sampling
    assert (asked.sampling.max_tokens, asked.sampling.temperature, asked.sampling.top_p) == (60, 0.2, 0.95)


@pytest.mark.parametrize("path", ["/", "/models/bigcode/starcoder"])
async def test_the_older_path_and_the_hosted_one_give_a_list(path: str) -> None:
    async with running(EchoEngine(default=Script(("a", "b"), delay_ms=30))) as daemon:
        whole = await daemon.post(path, **llm_ls())
        stream = await daemon.post(path, **llm_ls(), stream=True)
    assert whole.json() == [{"generated_text": "ab"}]
    assert stream.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_is_exactly_as_described() -> None:
    async with running(EchoEngine(default=Script(("a", "b\n"), delay_ms=30))) as daemon:
        reply = await daemon.post("/generate_stream", **llm_ls())
        stopped = await daemon.post("/generate_stream", **llm_ls(stop=["\n"]))
    assert reply.text.endswith("}\n\n")
    lines = [line for line in reply.text.split("\n\n") if line]
    assert all(line.startswith("data:{") for line in lines)
    events = [json.loads(line.removeprefix("data:")) for line in lines]
    assert events[0] == {
        "index": 1, "token": {"id": 97, "text": "a", "logprob": -0.25, "special": False},
        "generated_text": None, "details": None,
    }  # fmt: skip
    assert events[-1]["generated_text"] == "ab\n"
    assert "".join(event["token"]["text"] for event in events) == "ab\n"
    assert events[-1]["details"] == {
        "finish_reason": "eos_token", "generated_tokens": 3, "seed": None, "input_length": 20,
    }  # fmt: skip
    last = json.loads(stopped.text.split("\n\n")[-2].removeprefix("data:"))
    assert (last["generated_text"], last["details"]["finish_reason"]) == ("ab", "stop_sequence")


async def test_details_and_the_prompt_are_given_if_asked_for() -> None:
    async with running(EchoEngine(default=Script(("ab",)))) as daemon:
        asked = {
            "max_new_tokens": 1,
            "details": True,
            "return_full_text": True,
            "seed": 5,
            "decoder_input_details": True,
        }
        reply = await daemon.post("/generate", inputs="x = ", parameters=asked)
    assert reply.json() == {
        "generated_text": "x = a",
        "details": {
            "finish_reason": "length", "generated_tokens": 1, "seed": 5, "prefill": [],
            "tokens": [{"id": 97, "text": "a", "logprob": -0.25, "special": False}],
        },
    }  # fmt: skip


async def test_sampling_is_as_asked_and_else_greedy() -> None:
    async with running() as daemon:
        for parameters in (
            {},
            {"do_sample": True},
            {"temperature": 9.0},
            {"top_p": 1.5, "seed": -1},
            {"stop_tokens": ["x"]},
        ):
            assert (await daemon.post("/generate", inputs="x", parameters=parameters)).status_code == 200
        used = [request.sampling for request in daemon.engine.requests]
    assert [sampling.temperature for sampling in used if sampling] == [0.0, 1.0, 2.0, 0.0, 0.0]
    assert [sampling.max_tokens for sampling in used if sampling] == [100] * 5
    assert used[-1]
    assert used[-1].stop == ("x",)


async def test_a_long_prompt_with_sentinels_is_trimmed_around_the_hole() -> None:
    """The server that this dialect was once borrowed from failed here."""
    inputs = "<fim_prefix>" + "above\n" * 40_000 + "<fim_suffix>" + "below\n" * 40_000 + "<fim_middle>"
    async with running() as daemon:
        reply = await daemon.post("/generate", inputs=inputs, parameters={"max_new_tokens": 60})
        [asked] = daemon.engine.requests
    assert reply.status_code == 200
    assert bytes(asked.prompt.token_ids).endswith(b"above\n")
    assert len(asked.prompt.token_ids) <= daemon.engine.model.context_tokens - 60


async def test_problems_are_said_in_its_words() -> None:
    died = EngineDied("the engine went away", "understudy runtime logs")
    ambiguous = "<fim_prefix>a<fim_suffix>b<fim_suffix>c<fim_middle>"
    async with running(EchoEngine((Script((), failure=died), Script(("a",), failure=died)))) as daemon:
        broken = await daemon.post("/generate", **llm_ls())
        late = await daemon.post("/generate_stream", **llm_ls())
        refused = [
            await daemon.post("/generate", inputs=5),
            await daemon.post("/generate", inputs="x", parameters={"grammar": {"type": "json", "value": "{}"}}),
            await daemon.post("/generate", inputs=ambiguous),
            await daemon.post("/generate", inputs="x", parameters={"stop": ["x" * 300]}),
        ]
    assert (broken.status_code, broken.json()["error_type"]) == (500, "generation")
    assert "understudy runtime logs" in broken.json()["error"]
    assert json.loads(late.text.split("\n\n")[-2].removeprefix("data:"))["error_type"] == "generation"
    for reply in refused:
        assert (reply.status_code, reply.json()["error_type"]) == (422, "validation")
    assert "leave out" in refused[1].json()["error"]
    assert "<fim_suffix>" in refused[2].json()["error"]


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
async def test_a_hang_up_ends_the_generation(path: str) -> None:
    async with running(EchoEngine((Script(("a", "b"), hold=threading.Event()),))) as daemon:
        request = asyncio.create_task(daemon.post(path, **llm_ls()))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        request.cancel()
        await daemon.until(lambda: daemon.engine.aborts == 1)
