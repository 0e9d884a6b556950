"""Real code typed key by key through the real server and daemon; and through llama.vim's strategy on llama.cpp.

    python benchmarks/lsp_replay.py --model HF_FOLDER [--files 3] [--chars 160] [--no-peer]

The model (by default the bundled one) is imported for ours as 8-bit groups of 32, and written as GGUF Q8_0 for llama.cpp.
Both sides get the same keys at the same times, one side after the other, and nothing is accepted. Of each key: how long until
there was an answer for its place, before the next key came (an answer may be that nothing is missing); whether it came from
a cache; whether what was visible is what the typist goes on to write. `compared` are the keys that both sides answered and
neither had in a cache, so the share of answered keys is equal. Characters saved: had the typist taken each right suggestion of
at least four characters with one key. Prints one JSON line. Needs llama-cpp-python and gguf for the peer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lsp"))
from editor import Editor
from lsp_replay_typist import Scene, scenes

from local_runtime import bundled
from local_runtime.command import understudy
from local_runtime.daemon import lifecycle
from local_runtime.outcomes import OutcomeLog, database

SETTLE_SECONDS = 3.0
COMPILE_SECONDS = 600.0
MIN_TAKEN_CHARS = 4
CACHES = ("exact", "typed", "ahead")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a side had to say for one key."""

    ms: float | None
    """Until the answer; None if the next key came first."""
    text: str
    source: str


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
        asked: list[tuple[float, int, asyncio.Future[Any]]] = []

        def press(number: int, before: str) -> None:
            nonlocal place
            if asked and not asked[-1][2].done():
                editor.cancel(asked[-1][1])
            key = scene.keys[number]
            editor.edit(uri, place[0], place[1] - key.n_back, key.text, key.n_back)
            place = _place(before)
            began = time.perf_counter()
            number_of, answer = editor.ask_at(uri, *place)
            answer.add_done_callback(lambda _, at=number: times.__setitem__(at, (time.perf_counter() - began) * 1000))
            asked.append((began, number_of, answer))

        times: dict[int, float] = {}
        await _type(scene, press)
        await asyncio.sleep(1)
        for number, (_, _, answer) in enumerate(asked):
            result = answer.result() if answer.done() and not answer.cancelled() else {}
            items = result.get("result", {}).get("items", []) if "error" not in result else []
            found.append((times.get(number), items[0]["insertText"] if items else ""))
    with closing(OutcomeLog(database())) as log:
        rows = list(log.answers())[n_known + 1 :]
    assert len(rows) == len(found), (len(rows), len(found))
    late = ("superseded", "cancelled", "stale", "deadline", "no_runtime", "loading")
    return [
        Answer(None if row.skip in late else ms, text, row.source or row.skip)
        for row, (ms, text) in zip(rows, found, strict=True)
    ]


async def theirs(scene: Scene, model: Any, tokenizer: Any) -> list[Answer]:
    """Through llama.vim's strategy."""
    from lsp_replay_peer import LlamaVim  # noqa: PLC0415 - needs llama-cpp-python

    vim = LlamaVim(model, tokenizer, scene)
    await asyncio.to_thread(vim.warm)
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


def upcoming(scene: Scene) -> list[str | None]:
    """After each key: what the typist still has to write; None while a mistake stands."""
    rest: list[str | None] = []
    typed = ""
    for key in scene.keys:
        typed = typed[: len(typed) - key.n_back] + key.text
        rest.append(scene.target[len(typed) :] if scene.target.startswith(typed) else None)
    return rest


def session(scene: Scene, answers: list[Answer]) -> dict[str, int]:
    """Keys with a right suggestion visible before the next one, and the characters that taking them would have saved."""
    rest = upcoming(scene)
    right = [
        _first_line(answer.text) if answer.ms is not None and _is_right(answer, wanted) else ""
        for answer, wanted in zip(answers, rest, strict=True)
    ]
    saved, skip_until = 0, len(scene.target) + 1
    for text, wanted in zip(right, rest, strict=True):
        if wanted is None or len(wanted) > skip_until or len(text) < MIN_TAKEN_CHARS:
            continue
        saved += len(text) - 1
        skip_until = len(wanted) - len(text)
    return {"n_right": sum(map(bool, right)), "n_saved": saved}


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip()


def _is_right(answer: Answer, wanted: str | None) -> bool:
    """Its first line is what comes, up to the end of a word."""
    line = _first_line(answer.text)
    return bool(wanted) and bool(line) and wanted.startswith(line)


def percentile(values: list[float], share: float) -> float | None:
    """Rounded to 0.1 ms; None for no values."""
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 1) if values else None


def summed_up(all_scenes: list[Scene], all_answers: list[list[Answer]]) -> dict[str, Any]:
    """One side's figures."""
    answers = [answer for one in all_answers for answer in one]
    sessions = [session(scene, one) for scene, one in zip(all_scenes, all_answers, strict=True)]
    by_source: dict[str, list[float]] = {}
    for answer in answers:
        if answer.ms is not None:
            by_source.setdefault(answer.source if answer.text else "nothing to show", []).append(answer.ms)
    shown = [answer.ms for answer in answers if answer.ms is not None and answer.text]
    return {
        "n_keys": len(answers),
        "answered_share": round(sum(answer.ms is not None for answer in answers) / len(answers), 3),
        "shown_p50_ms": percentile(shown, 0.5),
        "shown_p95_ms": percentile(shown, 0.95),
        "by_source": {
            name: [len(ms), percentile(ms, 0.5), percentile(ms, 0.95)] for name, ms in sorted(by_source.items())
        },
        "right_share": round(sum(one["n_right"] for one in sessions) / len(answers), 3),
        "chars_saved": sum(one["n_saved"] for one in sessions),
        "n_chars": sum(len(scene.target) for scene in all_scenes),
        "unanswered": dict(Counter(answer.source for answer in answers if answer.ms is None)),
    }


def compared(one: list[list[Answer]], other: list[list[Answer]]) -> dict[str, Any]:
    """The keys that both answered and neither had in a cache."""
    pairs = [
        (a.ms, b.ms)
        for mine, their in zip(one, other, strict=True)
        for a, b in zip(mine, their, strict=True)
        if a.ms is not None and b.ms is not None and a.source not in CACHES and b.source != "cached"
    ]
    return {
        "n": len(pairs),
        **{f"{side}_{name}_ms": percentile([pair[at] for pair in pairs], share) for at, side in enumerate(("ours", "theirs")) for name, share in (("p50", 0.5), ("p95", 0.95))},
    }  # fmt: skip


def main() -> None:
    """Both sides, in a home of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=bundled.FOLDER, help="Hugging Face folder (default: the bundled one)"
    )
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--chars", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--home", type=Path, help="keep the compiled model here, for further runs")
    arguments = parser.parse_args()
    played = scenes(arguments.files, arguments.chars, arguments.seed)
    result: dict[str, Any] = {"benchmark": "lsp_replay", "model": arguments.model.name}
    with tempfile.TemporaryDirectory() as temporary:
        home = str(arguments.home.absolute()) if arguments.home else temporary
        os.environ["UNDERSTUDY_HOME"] = home
        if not (Path(home) / "data" / "models").exists():
            understudy.main(["model", "import", str(arguments.model.absolute())], standalone_mode=False)
        workspace = Path(home) / "w"
        workspace.mkdir(parents=True, exist_ok=True)
        try:
            asyncio.run(_compile(workspace))
            mine = [asyncio.run(ours(scene, workspace)) for scene in played]
        finally:
            lifecycle.kill()
        result["ours"] = summed_up(played, mine)
        if not arguments.no_peer:
            from lsp_replay_peer import LlamaCpp, write_gguf  # noqa: PLC0415
            from tokenizers import Tokenizer  # noqa: PLC0415

            write_gguf(arguments.model, Path(home) / "model.gguf")
            model = LlamaCpp(Path(home) / "model.gguf", os.cpu_count() or 2)
            tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
            their = [asyncio.run(theirs(scene, model, tokenizer)) for scene in played]
            result |= {"theirs": summed_up(played, their), "compared": compared(mine, their)}
    print(json.dumps(result))


async def _compile(folder: Path) -> None:
    """The first start compiles; that is no part of typing."""
    async with Editor(folder) as editor:
        await editor.heard(lambda m: m["params"].get("state") in ("ready", "failed"), seconds=COMPILE_SECONDS)


if __name__ == "__main__":
    main()
