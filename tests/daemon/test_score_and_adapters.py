"""Scores, adapters, health, metrics."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
from daemon_in_process import running, write_adapter

from local_runtime.client.wire import Selection
from local_runtime.daemon.readiness import Phase, Standing
from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.engines.protocol import Adapter, Engine, Piece, Prompt, Sampling
from local_runtime.errors import ModelMissing, OtherBase
from local_runtime.places import places

pytestmark = pytest.mark.anyio


async def test_a_score_has_one_logprob_per_token() -> None:
    async with running(EchoEngine(default=Script(("né",)))) as daemon:
        answer = (await daemon.post("/v1/score", prompt="a ", suffix="\n", target="né!")).json()
        [request] = daemon.engine.requests
    assert request.target == tuple("né!".encode())
    assert answer["n_bytes"] == len(answer["logprobs"]) == 4
    assert answer["logprob"] == pytest.approx(-1.0)
    assert answer["greedy"] == [True, True, True, False]


async def test_a_long_target_takes_its_room_from_the_prompt_and_too_long_a_one_is_refused() -> None:
    async with running() as daemon:
        fits = await daemon.post("/v1/score", prompt="p" * 9000, target="t" * 8000)
        too_long = await daemon.post("/v1/score", prompt="p", target="t" * 9000)
        empty = await daemon.post("/v1/score", prompt="p", target="")
    assert fits.status_code == 200
    assert fits.json()["prompt_tokens"] == 192
    assert (too_long.status_code, empty.status_code) == (400, 400)


async def test_a_newer_score_of_the_document_supersedes_the_older_completion() -> None:
    async with running(EchoEngine((Script(("a",), hold=threading.Event()),))) as daemon:
        asked = {"prompt": "x", "user": "u", "document": "d"}
        older = asyncio.create_task(daemon.post("/v1/completions", **asked))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        assert (await daemon.post("/v1/score", **asked, target="t")).status_code == 200
        assert (await older).json()["choices"][0]["finish_reason"] == "cancelled"


async def test_what_is_active_is_remembered_across_restarts_per_model() -> None:
    write_adapter("mine")
    async with running() as daemon:
        active = (await daemon.post("/v1/adapters", adapter="mine", strength=0.7)).json()["active"]
        assert (active["adapter"], active["strength"]) == ("mine", 0.7)
    async with running() as daemon:
        assert (await daemon.client.health()).active.adapter == "mine"
        assert (await daemon.post("/v1/adapters", strength=0.2)).json()["active"]["strength"] == 0.2
    async with running() as daemon:
        assert (await daemon.client.adapters()).active.strength == 0.2
        assert (await daemon.post("/v1/adapters", adapter=None)).json()["active"]["adapter"] is None
    async with running() as daemon:
        assert (await daemon.client.adapters()).active.adapter is None


async def test_an_adapter_that_is_gone_leaves_the_base_serving_and_says_so() -> None:
    write_adapter("mine")
    async with running() as daemon:
        await daemon.client.activate("mine")
    (places().adapters / "mine" / "adapter_config.json").unlink()
    async with running() as daemon:
        listed = await daemon.client.adapters()
        assert listed.active.adapter is None
        assert listed.problem and "mine" in listed.problem
        assert (await daemon.post("/v1/completions", prompt="x")).status_code == 200


async def test_an_adapter_that_does_not_fit_is_refused_and_the_old_one_serves_on() -> None:
    write_adapter("mine")
    write_adapter("foreign", base_hash="another model")
    async with running() as daemon:
        await daemon.client.activate("mine")
        reply = await daemon.post("/v1/adapters", adapter="foreign")
        listed = await daemon.client.adapters()
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "adapter_invalid"
    assert listed.active.adapter == "mine"
    assert {card.name: card.problem is None for card in listed.data} == {"mine": True, "foreign": False}


@pytest.mark.parametrize(
    "name", ["../secret", "/etc", "a/../../b", ".hidden", "a//b", "", "x" * 200, "a/b/c/d/e", "a\0b"]
)
async def test_no_name_leads_out_of_the_adapters_folder(name: str) -> None:
    write_adapter("mine")
    outside = places().data / "secret"
    outside.mkdir()
    (outside / "adapter_config.json").write_text("{}")
    async with running() as daemon:
        reply = await daemon.post("/v1/completions", prompt="x", adapter=name)
        if name == "":
            assert reply.status_code == 200  # the base
        else:
            assert reply.status_code == 400
            assert not daemon.engine.requests


async def test_a_link_out_of_the_adapters_folder_is_not_followed() -> None:
    places().adapters.mkdir(parents=True)
    (places().data / "secret").mkdir()
    (places().adapters / "link").symlink_to(places().data / "secret")
    async with running() as daemon:
        reply = await daemon.post("/v1/completions", prompt="x", adapter="link")
    assert reply.status_code == 400
    assert "leads out" in reply.json()["error"]["message"]


async def test_an_adapter_in_a_run_folder_can_be_named() -> None:
    write_adapter("runs/2026-01-01/candidate")
    async with running() as daemon:
        assert (
            await daemon.post("/v1/completions", prompt="x", adapter="runs/2026-01-01/candidate")
        ).status_code == 200
        assert [card.name for card in (await daemon.client.adapters()).data] == ["runs/2026-01-01/candidate"]


async def test_an_adapter_written_again_is_read_again() -> None:
    write_adapter("mine")
    async with running() as daemon:
        first = (await daemon.post("/v1/completions", prompt="x", adapter="mine")).json()["adapter_id"]
        shutil.rmtree(places().adapters / "mine")
        write_adapter("mine", rank=8)
        second = (await daemon.post("/v1/completions", prompt="x", adapter="mine")).json()["adapter_id"]
    assert first != second


async def test_while_loading_requests_are_told_to_wait_and_health_says_how_far() -> None:
    go_on = threading.Event()

    def opening(report: Callable[[Standing], None]) -> Engine:
        report(Standing(Phase.COMPILING, "compiling 3 of 9 kernels", 1 / 3))
        assert go_on.wait(10)
        return EchoEngine()

    async with running(opening=opening) as daemon:
        await daemon.until(lambda: daemon.service.readiness.standing.phase is Phase.COMPILING)
        health = await daemon.client.health()
        assert (health.status, health.message) == ("compiling", "compiling 3 of 9 kernels")
        assert health.progress == pytest.approx(1 / 3)
        reply = await daemon.post("/v1/completions", prompt="x")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert reply.json()["error"]["message"] == "compiling 3 of 9 kernels"
        assert (await daemon.client.models()) == []
        waiting = asyncio.create_task(daemon.client.health(wait_seconds=10))
        await asyncio.sleep(0)
        go_on.set()
        assert (await waiting).status == "ready"
        assert (await daemon.post("/v1/completions", prompt="x")).status_code == 200


async def test_a_failed_load_is_told_with_its_remedy() -> None:
    def opening(report: object) -> Engine:
        raise ModelMissing("no model has been imported", "understudy model import PATH")

    async with running(opening=opening) as daemon:
        health = await daemon.client.health(wait_seconds=10)
        reply = await daemon.post("/v1/completions", prompt="x")
    assert (health.status, health.message) == ("failed", "no model has been imported")
    assert reply.status_code == 503
    assert reply.json()["error"]["remedy"] == "understudy model import PATH"


async def test_metrics_count_and_never_quote() -> None:
    async with running() as daemon:
        await daemon.post("/v1/completions", prompt="SECRET = 1\n", path="SECRET.py", user="u", document="SECRET.py")
        await daemon.post("/v1/completions", prompt=1)
        text = (await daemon.http.get("/metrics")).text
    assert 'understudy_requests_total{kind="completion",outcome="ok"} 1.0' in text
    assert 'understudy_requests_total{kind="completion",outcome="refused"} 1.0' in text
    assert "SECRET" not in text


async def test_stop_is_meant_for_one_process() -> None:
    async with running() as daemon:
        assert (await daemon.post("/v1/runtime/stop", pid=1)).status_code == 409
        assert not daemon.ended.is_set()
        health = await daemon.client.health()
        assert (await daemon.post("/v1/runtime/stop", pid=health.pid)).json()["status"] == "stopping"
        assert daemon.ended.is_set()


async def test_a_mix_serves_under_its_name_and_is_remembered() -> None:
    write_adapter("mine")
    write_adapter("works", rank=2)
    async with running() as daemon:
        parts = [{"adapter": "mine", "strength": 0.5}, {"adapter": "works"}]
        reply = await daemon.post("/v1/adapters", mix=parts, strength=1.5)
        assert reply.json()["active"]["adapter"] == "mine*0.5+works*1"
        await daemon.post("/v1/completions", prompt="x")
        await daemon.post("/v1/completions", prompt="x", adapter="works*1+mine*0.25")
        first, second = daemon.engine.requests[-2:]
        assert first.adapter and second.adapter
        assert (first.adapter.rank, first.strength, second.strength) == (6, 1.5, 1.0)
        assert first.adapter.id != second.adapter.id
    async with running() as daemon:
        assert (await daemon.client.adapters()).active.adapter == "mine*0.5+works*1"


@pytest.mark.parametrize("name", ["mine*", "*1", "mine*x", "mine*1+", "mine*9", "mine*nan", "../x*1", "mine*1+gone*1"])
async def test_a_mix_that_is_none_is_refused(name: str) -> None:
    write_adapter("mine")
    async with running() as daemon:
        assert (await daemon.post("/v1/completions", prompt="x", adapter=name)).status_code == 400


async def test_an_engine_with_a_paged_cache_tells_how_full_it_is() -> None:
    class Paged(EchoEngine):
        kv_pages = (3, 8)

    async with running(Paged()) as daemon:
        text = (await daemon.http.get("/metrics")).text
    assert 'understudy_kv_pages{state="used"} 3.0' in text
    assert 'understudy_kv_pages{state="free"} 5.0' in text


class KeepingEcho(EchoEngine):
    """An engine that has the adapters ready that it was told; its forwards last until `go_on`."""

    kept: frozenset[str] = frozenset()
    go_on: threading.Event | None = None

    def keeps(self, adapter: Adapter) -> bool:
        return adapter.path.name in self.kept

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        pieces = super().stream(prompt, sampling, adapter, strength)
        yield next(pieces)
        assert self.go_on is None or self.go_on.wait(30)
        yield from pieces


async def test_an_adapter_that_is_ready_serves_at_once_however_long_the_engine_is_busy() -> None:
    """The engine's thread stands in a forward all the while; what it has not read yet has to wait for it."""
    for name in ("ready", "unread"):
        write_adapter(name)
    engine = KeepingEcho(default=Script(("a", "b")))
    engine.kept, engine.go_on = frozenset({"ready"}), threading.Event()
    async with running(engine) as daemon:
        running_request = asyncio.create_task(daemon.post("/v1/completions", prompt="x"))
        await daemon.until(lambda: daemon.engine.forwards > 0)
        unread = asyncio.create_task(daemon.post("/v1/adapters", adapter="unread"))
        for name in ("ready", None):
            chosen = await asyncio.wait_for(daemon.post("/v1/adapters", adapter=name), 10)
            assert chosen.json()["active"]["adapter"] == name
        assert not unread.done()
        engine.go_on.set()
        assert (await unread).json()["active"]["adapter"] == "unread"
        assert (await running_request).json()["adapter_id"] is None  # it keeps what it began with


async def test_a_choice_for_another_base_model_changes_nothing() -> None:
    write_adapter("mine")
    async with running() as daemon:
        await daemon.client.activate("mine")
        for base_hash in ("another", ""):
            with pytest.raises(OtherBase, match="has another base"):
                await daemon.client.select(Selection(adapter=None, base_hash=base_hash))
        assert (await daemon.client.adapters()).active.adapter == "mine"
        chosen = await daemon.client.select(Selection(adapter=None, base_hash="echo"))
        assert chosen.active.adapter is None


async def test_many_choices_at_once_are_made_one_after_the_other() -> None:
    for name in ("one", "two"):
        write_adapter(name)
    engine = KeepingEcho()
    engine.kept = frozenset({"one", "two"})
    async with running(engine) as daemon:
        chosen = await asyncio.gather(*(daemon.post("/v1/adapters", adapter=name) for name in ("one", "two") * 40))
        assert {reply.status_code for reply in chosen} == {200}
        active = (await daemon.client.adapters()).active.adapter
    async with running() as daemon:
        assert (await daemon.client.adapters()).active.adapter == active


async def test_a_link_that_leads_elsewhere_than_before_is_looked_at_anew() -> None:
    """Also one whose files have the same sizes and times as those it led to."""
    write_adapter("mine")
    link, outside = places().adapters / "link", places().data / "outside"
    shutil.copytree(places().adapters / "mine", outside)
    link.symlink_to(places().adapters / "mine")
    async with running() as daemon:
        assert (await daemon.post("/v1/adapters", adapter="link")).status_code == 200
        link.unlink()
        link.symlink_to(outside)
        reply = await daemon.post("/v1/adapters", adapter="link")
    assert reply.status_code == 400
    assert "leads out" in reply.json()["error"]["message"]
