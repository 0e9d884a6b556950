"""`/v1/completions` as a client sees it."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from daemon_in_process import running, sse, write_adapter

from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.errors import EngineDied

pytestmark = pytest.mark.anyio


async def test_a_whole_answer_has_openais_shape() -> None:
    async with running(EchoEngine((Script(("retu", "rn 1")),))) as daemon:
        reply = await daemon.post("/v1/completions", prompt="def f():\n    ", logprobs=1)
    assert reply.status_code == 200
    answer = reply.json()
    assert (answer["object"], answer["model"]) == ("text_completion", "echo")
    [choice] = answer["choices"]
    assert (choice["text"], choice["index"], choice["finish_reason"]) == ("return 1", 0, "stop")
    assert choice["logprobs"]["tokens"] == list("return 1")
    assert choice["logprobs"]["text_offset"] == list(range(8))
    assert choice["logprobs"]["token_logprobs"] == [-0.25] * 8
    assert answer["usage"] == {"prompt_tokens": 13, "completion_tokens": 8, "total_tokens": 21}


async def test_a_stream_brings_the_same_in_parts() -> None:
    async with running(EchoEngine((Script(("retu", "rn 1"), first_delay_ms=20, delay_ms=20),))) as daemon:
        reply = await daemon.post("/v1/completions", prompt="x", stream=True)
    events = sse(reply.text)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [event["choices"][0]["text"] for event in events] == ["retu", "rn 1"]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, "stop"]
    assert len({event["id"] for event in events}) == 1
    assert events[-1]["usage"]["completion_tokens"] == 8


async def test_tokens_that_come_at_once_are_one_event() -> None:
    n_tokens = 300
    async with running(EchoEngine((Script(("x",) * n_tokens),), forward_ms=0)) as daemon:
        reply = await daemon.post("/v1/completions", prompt="x", stream=True, logprobs=1, max_tokens=n_tokens)
    choices = [event["choices"][0] for event in sse(reply.text)]
    assert len(choices) < n_tokens / 3
    assert "".join(choice["text"] for choice in choices) == "x" * n_tokens
    assert sum(len(choice["logprobs"]["token_logprobs"]) for choice in choices) == n_tokens
    assert [offset for choice in choices for offset in choice["logprobs"]["text_offset"]] == list(range(n_tokens))


@pytest.mark.parametrize("stream", [False, True])
async def test_several_choices(stream: bool) -> None:
    async with running(EchoEngine((Script(("a",)), Script(("b", "c"))))) as daemon:
        reply = await daemon.post("/v1/completions", prompt="x", n=2, stream=stream)
        seeds = [request.sampling.seed for request in daemon.engine.requests if request.sampling]
    parts = [part for event in (sse(reply.text) if stream else [reply.json()]) for part in event["choices"]]
    texts = ["".join(part["text"] for part in parts if part["index"] == index) for index in (0, 1)]
    assert texts == ["a", "bc"]
    assert seeds == [None, None]


async def test_each_choice_of_a_seeded_request_has_a_seed_of_its_own() -> None:
    async with running() as daemon:
        await daemon.post("/v1/completions", prompt="x", n=3, seed=7, temperature=0.8, top_p=0.9, stop=["\n", "#"])
        samplings = [request.sampling for request in daemon.engine.requests]
    assert [s.seed for s in samplings if s] == [7, 8, 9]
    assert all(s and (s.temperature, s.top_p, s.stop) == (0.8, 0.9, ("\n", "#")) for s in samplings)


async def test_a_hole_gives_its_chunks_and_its_prefix_to_the_prompt() -> None:
    async with running() as daemon:
        context = [{"path": "b.py", "text": "import os"}]
        await daemon.post(
            "/v1/completions", prompt="x = ", suffix="\ny", context=context, path="a.py", language="python"
        )
        assert bytes(daemon.engine.requests[0].prompt.token_ids) == b"import os\nx = "


async def test_token_ids_go_in_as_they_are() -> None:
    async with running() as daemon:
        await daemon.post("/v1/completions", prompt=[104, 105])
        assert daemon.engine.requests[0].prompt.token_ids == (104, 105)
        assert (await daemon.post("/v1/completions", prompt=["one text"])).status_code == 200
        refused = [
            await daemon.post("/v1/completions", prompt=["two", "texts"]),
            await daemon.post("/v1/completions", prompt=[1, "mixed"]),
            await daemon.post("/v1/completions", prompt=[104], suffix="x"),
            await daemon.post("/v1/completions", prompt=[99_999]),
        ]
    for reply in refused:
        assert reply.status_code == 400
        assert reply.json()["error"]["message"].count(" ") > 3


@pytest.mark.parametrize("max_tokens", [0, 1, 10**9])
async def test_any_max_tokens_is_served(max_tokens: int) -> None:
    async with running(EchoEngine(default=Script(("ab", "cd")))) as daemon:
        reply = await daemon.post("/v1/completions", prompt="x" * 100_000, max_tokens=max_tokens)
        [request] = daemon.engine.requests
    assert reply.status_code == 200
    text = {0: "", 1: "a", 10**9: "abcd"}[max_tokens]
    assert reply.json()["choices"][0]["text"] == text
    assert request.sampling
    assert len(request.prompt.token_ids) + request.sampling.max_tokens <= daemon.engine.model.context_tokens


async def test_a_prompt_that_is_too_long_keeps_its_end() -> None:
    async with running() as daemon:
        text = "".join(f"{n}\n" for n in range(100_000))
        assert (await daemon.post("/v1/completions", prompt=text, max_tokens=10)).status_code == 200
        [request] = daemon.engine.requests
    assert bytes(request.prompt.token_ids).endswith(b"99998\n99999\n")
    assert len(request.prompt.token_ids) == daemon.engine.model.context_tokens - 10


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hang_up_ends_the_generation(stream: bool) -> None:
    async with running(EchoEngine((Script(("a", "b"), hold=threading.Event()),))) as daemon:
        request = asyncio.create_task(daemon.post("/v1/completions", prompt="x", stream=stream))
        await daemon.until(lambda: daemon.engine.forwards > 3)
        request.cancel()  # httpx closes the connection
        await daemon.until(lambda: daemon.engine.aborts == 1)
        stepped = daemon.engine.forwards
        # The engine's thread goes on for others, and never comes back to this one.
        assert (await daemon.post("/v1/completions", prompt="y")).status_code == 200
        assert daemon.engine.forwards - stepped <= 3
        assert 'outcome="hung_up"} 1.0' in (await daemon.http.get("/metrics")).text


async def test_a_hang_up_in_the_middle_of_a_stream_ends_it() -> None:
    async with running(EchoEngine((Script(("a",) * 1000, delay_ms=5),))) as daemon:
        async with daemon.http.stream("POST", "/v1/completions", json={"prompt": "x", "stream": True}) as reply:
            await anext(reply.aiter_lines())
        await daemon.until(lambda: daemon.engine.aborts == 1)


async def test_a_newer_request_of_the_document_ends_the_older_one() -> None:
    async with running(EchoEngine((Script(("a", "b"), hold=threading.Event()), Script(("new",))))) as daemon:
        asked = {"prompt": "x", "user": "u", "document": "d"}
        older = asyncio.create_task(daemon.post("/v1/completions", **asked))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        newer = await daemon.post("/v1/completions", **asked)
        answer = (await older).json()["choices"][0]
    assert newer.json()["choices"][0]["text"] == "new"
    assert (answer["text"], answer["finish_reason"]) == ("", "cancelled")


async def test_a_superseded_stream_ends_with_what_there_was() -> None:
    async with running(EchoEngine((Script(("a",) * 1000, delay_ms=5), Script(("new",))))) as daemon:
        asked = {"prompt": "x", "user": "u", "document": "d"}
        async with daemon.http.stream("POST", "/v1/completions", json=asked | {"stream": True}) as reply:
            lines = reply.aiter_text()
            text = await anext(lines)
            await daemon.post("/v1/completions", **asked)
            text += "".join([part async for part in lines])
    events = sse(text)
    assert events[0]["choices"][0]["text"] == "a"
    assert events[-1]["choices"][0]["finish_reason"] == "cancelled"


async def test_a_fault_before_the_first_piece_is_a_status_and_after_it_an_event() -> None:
    died = EngineDied("the engine went away", "understudy runtime logs")
    scripts = (Script((), failure=died), Script(("a",), failure=died), Script(("a",), failure=died))
    async with running(EchoEngine(scripts)) as daemon:
        early = await daemon.post("/v1/completions", prompt="x", stream=True)
        late = await daemon.post("/v1/completions", prompt="x", stream=True)
        whole = await daemon.post("/v1/completions", prompt="x")
    for reply in (early, whole):
        assert reply.status_code == 500
        assert reply.json()["error"] == {
            "message": "the engine went away", "type": "engine_died", "code": "engine_died", "param": None,
            "remedy": "understudy runtime logs",
        }  # fmt: skip
    assert sse(late.text)[-1]["error"]["type"] == "engine_died"


async def test_each_request_may_name_its_adapter() -> None:
    write_adapter("mine")
    async with running() as daemon:
        await daemon.post("/v1/adapters", adapter="mine", strength=0.5)
        daemon.engine.requests.clear()
        for extra in ({}, {"strength": 2.0}, {"adapter": "base"}, {"adapter": "mine"}):
            assert (await daemon.post("/v1/completions", prompt="x", **extra)).status_code == 200
        used = [(r.adapter.path.name if r.adapter else None, r.strength) for r in daemon.engine.requests]
    assert used == [("mine", 0.5), ("mine", 2.0), (None, 1.0), ("mine", 1.0)]


async def test_running_requests_keep_the_adapter_they_began_with() -> None:
    write_adapter("mine")
    hold = threading.Event()
    async with running(EchoEngine((Script(("a",), hold=hold), Script(("b",))))) as daemon:
        older = asyncio.create_task(daemon.post("/v1/completions", prompt="x"))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        assert (await daemon.post("/v1/adapters", adapter="mine")).status_code == 200
        newer = await daemon.post("/v1/completions", prompt="x")
        hold.set()
        replies: list[httpx.Response] = [await older, newer]
    assert [reply.json()["adapter_id"] is None for reply in replies] == [True, False]


async def test_a_wrong_model_is_refused_by_name() -> None:
    async with running() as daemon:
        reply = await daemon.post("/v1/completions", prompt="x", model="gpt-4")
        assert (await daemon.post("/v1/completions", prompt="x", model="echo")).status_code == 200
    assert reply.status_code == 400
    assert "'echo' is" in reply.json()["error"]["message"]
