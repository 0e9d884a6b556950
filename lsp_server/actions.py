"""The commands of `workspace/executeCommand`. Each takes plain JSON values and returns plain JSON values.

A wrong argument or a missing runtime comes back as `{"ok": false, "message": …}`: what an editor shows as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from local_runtime.errors import RuntimeFault
from local_runtime.places import places
from local_runtime.records.outcomes import OutcomeLog, database

from . import switches
from .background import has_command
from .skip import Skip
from .stats import summary

if TYPE_CHECKING:
    from .server import Server

STATS_SECONDS = 30 * 86_400
Result = dict[str, Any]


async def run(server: Server, name: str, arguments: Sequence[Any]) -> Result:
    """Run a command by name."""
    try:
        return {"ok": True} | await COMMANDS[name](server, *arguments)
    except (RuntimeFault, ValueError, TypeError) as problem:
        return {"ok": False, "message": str(problem)}


async def _toggle(server: Server, scope: str = "global", value: str = "") -> Result:
    switched = switches.toggled(server.session.completer.switches, str(scope), str(value))
    server.switch(switched)
    await asyncio.to_thread(switches.write, places().data / "switches.json", switched)
    return {
        "everywhereOff": switched.everywhere_off,
        "languagesOff": sorted(switched.languages_off),
        "foldersOff": sorted(switched.folders_off),
    }


async def _list_adapters(server: Server) -> Result:
    return _adapters(await server.runtime.adapters())


async def _use_adapter(server: Server, name: str, strength: float = 1.0) -> Result:
    from local_runtime.client.wire import Selection  # noqa: PLC0415 - with the client, after `initialize`

    return _adapters(await server.runtime.select(Selection(adapter=str(name), strength=float(strength))))


async def _use_base(server: Server) -> Result:
    from local_runtime.client.wire import Selection  # noqa: PLC0415

    return _adapters(await server.runtime.select(Selection(adapter=None)))


async def _set_strength(server: Server, strength: float) -> Result:
    from local_runtime.client.wire import Selection  # noqa: PLC0415

    return _adapters(await server.runtime.select(Selection(strength=float(strength))))


async def _train_now(server: Server) -> Result:
    server.background.start("the training", "learn", "now")
    return {"message": "training has begun; the status shows how far it is"}


async def _forget(server: Server, uri: str) -> Result:
    document = server.session.documents.get(str(uri))
    if document is None or document.path is None:
        raise ValueError("only a file that is open can be forgotten from here; `understudy forget PATH` forgets any")
    n_deleted = await server.session.forget(document.uri)
    if has_command("forget"):
        server.background.start(f"forgetting {document.path}", "forget", str(document.path), "--yes")
    return {"message": f"{document.path} is forgotten; suggestions deleted: {n_deleted}"}


async def _why(server: Server, number: int = 10) -> Result:
    rows = list(server.session.answers)[-int(number) :]
    sentences = [
        Skip(row.skip).sentence if row.skip else f"Shown ({row.source}, {row.latency_ms:.0f} ms)." for row in rows
    ]
    return {
        "answers": [
            {"at": row.at, "path": row.path, "line": row.line, "skip": row.skip or None, "sentence": sentence}
            for row, sentence in zip(rows, sentences, strict=True)
        ]
    }


async def _stats(server: Server) -> Result:
    def read() -> Result:
        server.metrics.flush()
        since = time.time() - STATS_SECONDS
        with closing(OutcomeLog(database())) as log:
            return asdict(summary(log.outcomes(since), log.answers(since)))

    return await asyncio.to_thread(read)


async def _restart(server: Server) -> Result:
    await server.runtime.restart()
    return {}


def _adapters(listed: Any) -> Result:
    import msgspec  # noqa: PLC0415 - with the client

    return {"adapters": msgspec.to_builtins(listed)}


COMMANDS: dict[str, Callable[..., Awaitable[Result]]] = {
    "understudy.toggle": _toggle,
    "understudy.adapter.list": _list_adapters,
    "understudy.adapter.use": _use_adapter,
    "understudy.adapter.base": _use_base,
    "understudy.adapter.strength": _set_strength,
    "understudy.train": _train_now,
    "understudy.forget": _forget,
    "understudy.why": _why,
    "understudy.stats": _stats,
    "understudy.restart": _restart,
}
