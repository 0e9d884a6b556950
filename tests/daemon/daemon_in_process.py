"""The whole daemon on a real Unix socket, inside the test's event loop: only the process and its lock are missing."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import save_file

from local_runtime.adapters.mixing import mix_adapters
from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.adapters.shelf import AdapterShelf
from local_runtime.client.client import AsyncClient
from local_runtime.client.sockets import bind_loopback, bind_unix
from local_runtime.client.unix_transport import UnixTransport
from local_runtime.daemon.activity import Activity
from local_runtime.daemon.app import build_app
from local_runtime.daemon.guard import LoopbackGuard
from local_runtime.daemon.metrics import Metrics
from local_runtime.daemon.readiness import Readiness, Standing
from local_runtime.daemon.scheduler import Scheduler
from local_runtime.daemon.server import Listeners
from local_runtime.daemon.service import Service
from local_runtime.engines.echo import EchoEngine
from local_runtime.engines.protocol import Engine
from local_runtime.places import places
from local_runtime.prompts.prompting import BytePrompting

TOKEN = "t" * 40


@dataclass
class Daemon:
    """A daemon under test."""

    engine: EchoEngine
    service: Service
    socket: Path
    port: int
    http: httpx.AsyncClient
    client: AsyncClient
    ended: asyncio.Event

    async def post(self, path: str, /, **body: Any) -> httpx.Response:
        return await self.http.post(path, json=body)

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait for something that another thread brings about."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running(
    engine: EchoEngine | None = None, opening: Callable[[Callable[[Standing], None]], Engine] | None = None
) -> AsyncIterator[Daemon]:
    """Serve `engine`; `opening` stands in for its loading."""
    engine = engine or EchoEngine()
    readiness = Readiness(asyncio.get_running_loop())
    activity = Activity()
    shelf = AdapterShelf(places().adapters, places().data / "active.json", read_adapter, mix_adapters)

    def opened(report: Callable[[Standing], None]) -> Engine:
        found = opening(report) if opening else engine
        service.prompting = BytePrompting()
        shelf.take_up(found.model.base_hash)
        return found

    scheduler = Scheduler(opened, readiness)
    service = Service(readiness, scheduler, shelf, Metrics(), activity)
    ended = asyncio.Event()
    # pytest's own folders are longer than a socket's path may be.
    folder = Path(tempfile.mkdtemp(prefix="understudy-", dir="/tmp"))
    listeners = Listeners()
    loopback = bind_loopback(0)
    port = loopback.getsockname()[1]
    app = build_app(service, ended.set, port)
    await listeners.listen(app, bind_unix(folder / "s"))
    await listeners.listen(LoopbackGuard(app, TOKEN), loopback)
    scheduler.start()
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "s"))
    if opening is None:
        await readiness.settled(10)
    try:
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://understudy", timeout=30) as http,
            AsyncClient("test", transport=UnixTransport(str(folder / "s"))) as client,
        ):
            yield Daemon(engine, service, folder / "s", port, http, client, ended)
    finally:
        await listeners.close(0.2)
        await asyncio.to_thread(scheduler.stop)
        service.close()
        shutil.rmtree(folder)


def write_adapter(name: str, base_hash: str = "echo", rank: int = 4) -> None:
    """A PEFT folder that is complete as far as the echo engine looks."""
    path = places().adapters / name
    path.mkdir(parents=True)
    config = {"r": rank, "lora_alpha": rank, "target_modules": ["q_proj"], "peft_type": "LORA"}
    (path / "adapter_config.json").write_text(json.dumps(config))
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    a, b = (np.full(shape, len(name), np.float32) for shape in ((rank, 8), (8, rank)))
    save_file({f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}, path / "adapter_model.safetensors")
    (path / "manifest.json").write_text(json.dumps({"base_hash": base_hash}))


def sse(body: str) -> list[Any]:
    """The JSON of each event; `[DONE]` must be the last."""
    events = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]
