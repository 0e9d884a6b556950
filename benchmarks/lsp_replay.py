"""Real code typed key by key through the real server and daemon; and through llama.vim's strategy on llama.cpp.

    python benchmarks/lsp_replay.py [--llama-server build/bin/llama-server] [--keystrokes 360] [--model HF_FOLDER]

The model (by default the tests' tiny one) is imported for ours as 8-bit groups of 32, and written as GGUF Q8_0 for llama.cpp.
All sides get the same keys at the same times, one side after the other, and nothing is accepted. Of each key: how long until
there was an answer for its place, before the next key came (an answer may be that nothing is missing); whether it came from
a cache; whether what was visible is what the typist goes on to write. `compared` are the keys that both sides answered and
neither had in a cache, so the share of answered keys is equal. Characters saved: had the typist taken each right suggestion
of at least four characters with one key.

llama.vim comes in two ways (`lsp_replay_llama_cpp` tells them apart and how to build the server): `llama-server` is what its
users have; `in process` is a bound that favours it beyond what any client can reach. Needs llama-cpp-python and gguf; without
`--llama-server` that side is left out. Takes five minutes; where other programs compute, `chrt -r 5 python …` keeps all sides
clear of them alike. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lsp"))
import tiny_model
from editor import Editor
from lsp_replay_figures import Answer, compared, summed_up
from lsp_replay_peer import LlamaCpp, LlamaVim
from lsp_replay_typist import Scene, scenes

from local_runtime.client import lifecycle
from local_runtime.errors import BadRequest
from local_runtime.model import importing
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.places import places
from local_runtime.records.outcomes import OutcomeLog, database

SETTLE_SECONDS = 3.0
COMPILE_SECONDS = 600.0
CHARS_PER_SCENE = 120
UNANSWERED = ("superseded", "cancelled", "stale", "deadline", "no_runtime", "loading")


async def ours(scene: Scene, folder: Path) -> list[Answer]:
    """Through the language server and the daemon."""
    found: list[tuple[float | None, str]] = []
    with closing(OutcomeLog(database())) as log:
        n_known = len(list(log.answers()))
    async with Editor(folder) as editor:
        await editor.ready()
        for path, text in scene.neighbours:
            editor.open(path, text)
        uri = editor.open(scene.path, scene.before + scene.after)
        place = _place(scene.before)
        await editor.text(uri, *place)
        await asyncio.sleep(SETTLE_SECONDS)
        asked: list[tuple[int, asyncio.Future[Any]]] = []
        times: dict[int, float] = {}

        def press(number: int, before: str) -> None:
            nonlocal place
            began = time.perf_counter()
            if asked and not asked[-1][1].done():
                editor.cancel(asked[-1][0])
            key = scene.keys[number]
            editor.edit(uri, place[0], place[1] - key.n_back, key.text, key.n_back)
            place = _place(before)
            number_of, answer = editor.ask_at(uri, *place)
            answer.add_done_callback(lambda _: times.__setitem__(number, (time.perf_counter() - began) * 1000))
            asked.append((number_of, answer))

        await _type(scene, press)
        await asyncio.sleep(1)
        for number, (_, answer) in enumerate(asked):
            result = answer.result() if answer.done() and not answer.cancelled() else {}
            items = result.get("result", {}).get("items", []) if "error" not in result else []
            found.append((times.get(number), items[0]["insertText"] if items else ""))
    with closing(OutcomeLog(database())) as log:
        rows = list(log.answers())[n_known + 1 :]
    assert len(rows) == len(found), (len(rows), len(found))
    return [
        Answer(None if row.skip in UNANSWERED else ms, text, row.source or row.skip)
        for row, (ms, text) in zip(rows, found, strict=True)
    ]


async def theirs(scene: Scene, llama_cpp: LlamaCpp) -> list[Answer]:
    """Through llama.vim's strategy."""
    vim = LlamaVim(llama_cpp, scene)
    await vim.warm()
    await asyncio.sleep(SETTLE_SECONDS)
    await _type(scene, vim.key)
    await vim.idle()
    answers = [vim.answers.get(number) for number in range(len(scene.keys))]
    return [Answer(a[0], a[1], "cached" if a[2] else "model") if a else Answer(None, "", "late") for a in answers]


async def _type(scene: Scene, press: Any) -> None:
    """Press every key when it is due."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    typed = scene.before
    for number, key in enumerate(scene.keys):
        await asyncio.sleep(began + key.at_ms / 1000 - loop.time())
        typed = typed[: len(typed) - key.n_back] + key.text
        press(number, typed)


def _place(before: str) -> tuple[int, int]:
    return before.count("\n"), len(before.rpartition("\n")[2])


def our_side(played: list[Scene], folder: Path, home: Path) -> tuple[str, list[list[Answer]]]:
    """Import the model if need be, start server and daemon, and type. Returns the model's name, too."""
    if folder == tiny_model.FOLDER:
        name = tiny_model.ensure_imported()
    else:
        name = folder.name
        with suppress(BadRequest):  # imported before, in a home that was kept
            importing.import_model(folder, QUANTIZATIONS["q8f16_g32"], name)
    places().config_file.parent.mkdir(parents=True, exist_ok=True)
    places().config_file.write_text(f'[runtime]\nmodel = "{name}"\n')
    workspace = home / "w"
    workspace.mkdir(exist_ok=True)
    try:
        asyncio.run(_compile(workspace))
        return name, [asyncio.run(ours(scene, workspace)) for scene in played]
    finally:
        lifecycle.kill()


async def _compile(folder: Path) -> None:
    """The first start compiles; that is no part of typing."""
    async with Editor(folder) as editor:
        await editor.heard(lambda m: m["params"].get("state") in ("ready", "failed"), seconds=COMPILE_SECONDS)


def their_sides(
    played: list[Scene], folder: Path, gguf: Path, llama_server: Path | None
) -> dict[str, list[list[Answer]]]:
    """llama.vim on llama.cpp, by the way of running it."""
    from lsp_replay_gguf import write_gguf  # noqa: PLC0415 - needs gguf
    from lsp_replay_llama_cpp import InProcess, served  # noqa: PLC0415 - needs llama-cpp-python
    from tokenizers import Tokenizer  # noqa: PLC0415

    write_gguf(folder, gguf)
    sides = {}
    in_process = InProcess.fastest(gguf, Tokenizer.from_file(str(folder / "tokenizer.json")))
    sides[in_process.name] = [asyncio.run(theirs(scene, in_process)) for scene in played]
    if llama_server is not None:
        with served(llama_server, gguf, in_process.n_threads) as server:
            sides[server.name] = [asyncio.run(theirs(scene, server)) for scene in played]
    return sides


def main() -> None:
    """All sides, in a home of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=tiny_model.FOLDER, help="a Llama-shaped Hugging Face folder")
    parser.add_argument("--keystrokes", type=int, default=360, help="about so many, over all files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-peer", action="store_true", help="our side alone")
    parser.add_argument("--llama-server", type=Path, help="llama.cpp's server, for llama.vim as its users have it")
    parser.add_argument("--home", type=Path, help="keep the compiled model here, for further runs")
    arguments = parser.parse_args()
    folder, n_files = arguments.model.absolute(), max(1, round(arguments.keystrokes / CHARS_PER_SCENE))
    played = scenes(n_files, arguments.keystrokes // n_files, arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        home = (arguments.home or Path(temporary)).absolute()
        home.mkdir(parents=True, exist_ok=True)
        os.environ["UNDERSTUDY_HOME"] = str(home)
        name, mine = our_side(played, folder, home)
        result: dict[str, Any] = {"benchmark": "lsp_replay", "model": name, "understudy": summed_up(played, mine)}
        if not arguments.no_peer:
            for side, their in their_sides(played, folder, home / "model.gguf", arguments.llama_server).items():
                result[f"llama.vim, {side}"] = summed_up(played, their)
                result[f"compared, {side}"] = compared(mine, their)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
