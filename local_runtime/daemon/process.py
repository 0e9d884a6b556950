"""The daemon's process: one lock, its sockets, an engine, and an orderly end."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler

import msgspec

from local_runtime import __version__
from local_runtime.adapters.mixing import mix_adapters
from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.adapters.shelf import AdapterShelf, Choice, memory_file
from local_runtime.client import lock
from local_runtime.client.options import RuntimeOptions, read_options
from local_runtime.client.sockets import (
    bind_loopback,
    bind_unix,
    lock_path,
    log_path,
    private_folder,
    socket_path,
    token_path,
)
from local_runtime.daemon.activity import Activity
from local_runtime.daemon.app import build_app
from local_runtime.daemon.guard import LoopbackGuard, read_token
from local_runtime.daemon.metrics import Metrics
from local_runtime.daemon.readiness import Phase, Readiness, Standing
from local_runtime.daemon.scheduler import Scheduler
from local_runtime.daemon.server import Listeners
from local_runtime.daemon.service import Service
from local_runtime.daemon.serving import open_engine, remote_host
from local_runtime.engines.protocol import Engine, Merging
from local_runtime.errors import RuntimeFault
from local_runtime.places import places

log = logging.getLogger("local_runtime.daemon")

FAILED_SECONDS = 60.0
"""A daemon that has no engine ends itself after this long, so that the next request tries anew."""
LOG_BYTES = 1 << 20
N_LOGS = 3


def run(overrides: str, ready_fd: int | None) -> None:
    """Become the daemon, or leave at once if there is one. Returns when it has ended."""
    os.umask(0o077)
    faulthandler.enable()
    held = lock.take(lock_path(), __version__)
    if held is None:
        _tell(ready_fd, "busy")
        return
    _log_to_file()
    try:
        options = read_options(msgspec.json.decode(overrides))
        asyncio.run(_serve(options, lambda: _tell(ready_fd, "listening")))
    except (RuntimeFault, OSError) as fault:
        log.error("could not start: %s", fault)
        _tell(ready_fd, f"failed: {fault}")
    finally:
        os.close(held)


async def _serve(options: RuntimeOptions, listening: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    readiness = Readiness(loop)
    activity = Activity()
    shelf = AdapterShelf(places().adapters, memory_file(), read_adapter, mix_adapters)

    def opened(report: Callable[[Standing], None]) -> Engine:
        engine, service.prompting = open_engine(options, report)
        shelf.take_up(engine.model.base_hash)
        if isinstance(engine, Merging):
            _merge_active(engine, shelf)
        gc.freeze()  # what has been loaded stays: no collection need walk it while somebody types
        return engine

    scheduler = Scheduler(opened, readiness)
    service = Service(readiness, scheduler, shelf, Metrics(), activity)
    service.remote = remote_host(options)
    listeners = Listeners()
    path = socket_path()
    loopback = bind_loopback(options.port) if options.port is not None else None
    port = loopback.getsockname()[1] if loopback else None
    app = build_app(service, end.set, port)
    await listeners.listen(app, bind_unix(path))
    if loopback is not None:
        await listeners.listen(LoopbackGuard(app, read_token(token_path())), loopback)
    scheduler.start()
    log.info("understudy %s listens on %s%s", __version__, path, f" and port {port}" if port else "")
    listening()
    try:
        await _until_idle(end, readiness, activity, options.idle_minutes * 60)
        log.info("ending")
    finally:
        readiness.set(Standing(Phase.STOPPING, "the daemon is stopping"))
        path.unlink(missing_ok=True)  # nobody connects to a daemon that goes; the lock keeps a successor waiting
        await listeners.close()
        await asyncio.to_thread(scheduler.stop)
        service.close()


def _merge_active(engine: Merging, shelf: AdapterShelf) -> None:
    """Have what was active serve; the base, if that cannot be merged."""
    try:
        deque(engine.prepare(shelf.active.adapter, shelf.active.strength), maxlen=0)
    except RuntimeFault as fault:
        if shelf.active.adapter is None:
            raise
        log.error("the adapter that was active cannot be merged: %s", fault.message)
        shelf.problem = f"the adapter that was active cannot be merged: {fault.message}"
        shelf.active = Choice()
        deque(engine.prepare(None), maxlen=0)


async def _until_idle(end: asyncio.Event, readiness: Readiness, activity: Activity, idle_seconds: float) -> None:
    """Return when told to end, or when nobody has asked for long enough. Sleeps until the moment when that may be true."""
    while not end.is_set():
        failed = readiness.standing.phase is Phase.FAILED
        left = min(FAILED_SECONDS, idle_seconds) if failed else idle_seconds - activity.idle_seconds
        if left <= 0:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), left + 0.01)
        if failed:
            return


def _tell(ready_fd: int | None, word: str) -> None:
    """Let the starter know, if it still listens."""
    if ready_fd is not None:
        with suppress(OSError):
            os.write(ready_fd, word.encode())
            os.close(ready_fd)


def _log_to_file() -> None:
    path = log_path()
    private_folder(path.parent)
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=N_LOGS, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("local_runtime")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # Only ours: other libraries may quote what they were given.
    root.propagate = False
