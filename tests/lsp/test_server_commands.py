"""The commands of `workspace/executeCommand`, asked of the real server with the real daemon behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from echo_daemon import EchoDaemon
from editor import Editor
from safetensors.numpy import save_file

from local_runtime.records.outcomes import OutcomeLog, database

pytestmark = pytest.mark.e2e


async def test_toggles_last_and_everybody_hears_of_them(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        assert (await editor.execute("understudy.toggle", "language", "python"))["languagesOff"] == ["python"]
        assert (await editor.execute("understudy.toggle", "folder", str(workspace)))["foldersOff"] == [str(workspace)]
        assert not (await editor.execute("understudy.toggle", "planet"))["ok"]
        await editor.items(uri, 0, 4)
        await editor.execute("understudy.toggle", "language", "python")
        await editor.items(uri, 0, 4)
        assert await editor.why() == ["disabled_language", "disabled_folder"]
        status = [m["params"] for m in editor.notifications if m["method"] == "understudy/status"][-1]
        assert (status["languagesOff"], status["foldersOff"]) == ([], [str(workspace)])
    async with Editor(workspace) as second:
        uri = second.open("a.py", "x = \n")
        await second.ready()
        await second.items(uri, 0, 4)
        assert (await second.execute("understudy.toggle", "folder", str(workspace)))["foldersOff"] == []
        assert await second.text(uri, 0, 4) == "compute(a, b)"
        assert (await second.execute("understudy.toggle"))["everywhereOff"] is True
        await second.heard(lambda m: m["method"] == "understudy/status" and m["params"]["disabled"])
        assert await second.why() == ["disabled_folder", None]


def write_adapter(home: Path, name: str) -> None:
    """A PEFT folder that fits the echo engine."""
    folder = home / "data" / "adapters" / name
    folder.mkdir(parents=True)
    config = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj"], "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    a, b = (np.ones(shape, np.float32) for shape in ((4, 8), (8, 4)))
    save_file({f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"base_hash": "echo"}))


async def test_adapters_are_chosen_and_speak_with_a_voice_of_their_own(
    daemon: EchoDaemon, workspace: Path, home: Path
) -> None:
    write_adapter(home, "mine")
    async with Editor(workspace) as editor:
        await editor.ready()
        uri = editor.open("a.py", "x = \n")
        assert await editor.text(uri, 0, 4) == "compute(a, b)"
        (card,) = (await editor.execute("understudy.adapter.list"))["adapters"]["data"]
        assert (card["name"], card["problem"]) == ("mine", None)
        used = await editor.execute("understudy.adapter.use", "mine", 0.5)
        assert used["adapters"]["active"] == {"adapter": "mine", "id": card["id"], "strength": 0.5}
        heard = await editor.heard(lambda m: m["params"].get("adapter") == card["id"])
        assert (heard["params"]["adapterName"], heard["params"]["strength"]) == ("mine", 0.5)
        assert await editor.text(uri, 0, 4) == "compute(a, b)"
        await editor.execute("understudy.adapter.strength", 1.5)
        await editor.heard(lambda m: m["params"].get("strength") == 1.5)
        assert not (await editor.execute("understudy.adapter.strength", 9))["ok"]
        assert not (await editor.execute("understudy.adapter.use", "nobody"))["ok"]
        assert (await editor.execute("understudy.adapter.base"))["adapters"]["active"]["adapter"] is None
        assert await editor.text(uri, 0, 4) == "compute(a, b)"
    rows = list(OutcomeLog(database()).answers())
    assert [row.source for row in rows] == ["model", "model", "exact"], "no voice is shown another's words"


async def test_forgetting_a_file(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        await editor.items(uri, 0, 4)
        editor.edit(uri, 0, 4, "compute(a, b)")
        await editor.execute("understudy.stats")
        assert (await editor.execute("understudy.forget", uri))["ok"]
        assert await editor.why() == []
        assert (await editor.execute("understudy.stats"))["total"]["n_accepted"] == 0
        assert not (await editor.execute("understudy.forget", "file:///never/opened.py"))["ok"]
