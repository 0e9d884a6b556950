"""A whole session, run inside a network namespace without interfaces; prints what it found as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil
from editor import Editor

from local_runtime.client import lock
from local_runtime.client.sockets import lock_path


async def journey(workspace: Path) -> dict[str, object]:
    async with Editor(workspace) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        texts = [await editor.text(uri, 0, 4)]
        editor.edit(uri, 0, 4, "c")
        texts.append(await editor.text(uri, 0, 5))
        editor.edit(uri, 0, 5, "ompute(a, b)")
        stats = await editor.execute("understudy.stats")
        holder = lock.holder(lock_path())
        assert holder is not None
        processes = [psutil.Process(editor.process.pid), psutil.Process(holder.pid)]
        internet = [str(found) for process in processes for found in process.net_connections(kind="inet")]
    return {
        "interfaces": [name for name, facts in psutil.net_if_stats().items() if facts.isup],
        "texts": texts,
        "accepted": stats["total"]["n_accepted"],
        "internet_sockets": internet,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(journey(Path(sys.argv[1])))))
