"""`understudy demo`. Nothing is staged: server, daemon, model, trainer and gate are those that work every day."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from local_runtime.client.client import AsyncClient
from local_runtime.client.wire import Health
from local_runtime.pip_command import install_extra
from lsp_server.demo.lesson import learn_and_compare
from lsp_server.demo.screen import print_line
from lsp_server.demo.typing import Score, Window, type_file

OPENING = '''\
"""Notes: small texts in a folder, one file each."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Note:
    title: str
    body: str
    tags: list[str] = field(default_factory=list)

    def to_dict(self):
        return {"title": self.title, "body": self.body, "tags": self.tags}

    @classmethod
    def from_dict(cls, data):
        return cls(data["title"], data["body"], data["tags"])


'''
TYPED = """\
class Notebook:
    def __init__(self, folder):
        self.folder = folder
        self.notes = []

    def add(self, note):
        self.notes.append(note)

    def find(self, title):
        for note in self.notes:
            if note.title == title:
                return note
        return None

    def save(self, path):
        with open(path, "w") as file:
            json.dump([note.to_dict() for note in self.notes], file)
"""
KEY_SECONDS = 0.12
ROOM_SECONDS = 900.0
"""A first start may have to import, quantise and compile the model."""
EXAMPLES = """\b
Examples:
  understudy demo              both halves: completion, then a lesson learnt (needs understudy[train])
  understudy demo --no-train   the first half alone: seconds
  understudy demo --lesson     the second half alone
  understudy demo --quick      no pauses between the keys"""


@click.command(epilog=EXAMPLES)
@click.option("--quick", is_flag=True, help="Type as fast as answers come.")
@click.option("--train/--no-train", default=True, help="Whether to learn a small repository's style afterwards.")
@click.option("--lesson", is_flag=True, help="Only learn, and compare before with after.")
def demo(quick: bool, train: bool, lesson: bool) -> None:
    """Watch a file being completed as it is typed; then watch a style being learnt."""
    console = Console()
    if not lesson:
        asyncio.run(_complete(console, 0.0 if quick else KEY_SECONDS))
    if train and find_spec("peft") is None:
        console.print(f"\nThe second half learns a style. It needs the trainer: {install_extra('train')}", markup=False)
        train = False
    if train:
        learn_and_compare(console)
    _say_what_next(console)


async def _complete(console: Console, key_seconds: float) -> None:
    await _start(console)
    with TemporaryDirectory() as folder:
        window = Window(Path(folder) / "notes.py")
        await window.open(OPENING)
        try:
            score = await type_file(window, OPENING, TYPED, key_seconds, partial(print_line, console))
        finally:
            await window.close()
    _sum_up(console, score)


async def _start(console: Console) -> None:
    """Have a daemon whose model answers, and show what it does until then."""
    began = time.perf_counter()
    with console.status("starting the runtime"):
        async with AsyncClient("demo") as client:
            health: Health = await client.wait_ready(ROOM_SECONDS)
    model = health.model
    if model is not None:
        console.print(
            f"[bold]{model.id}[/bold] ({model.quantization}) on {model.device}, ready after {time.perf_counter() - began:.1f} s\n"
        )


def _sum_up(console: Console, score: Score) -> None:
    if not score.n_suggested:
        console.print("\nNo suggestion at all: `understudy why` tells the reasons.")
        return
    console.print(
        f"\n{score.n_keys} keys, {score.n_suggested} with a suggestion, {score.n_right} with exactly the rest of the line; "
        f"median {score.median_ms:.0f} ms from key to suggestion."
    )


def _say_what_next(console: Console) -> None:
    console.print(
        "\n[bold]Next[/bold]\n"
        "  your editor      README.md, section Editors: VS Code and Neovim\n"
        "  other models     understudy model get            (by name), or understudy model find   (what this machine has)\n"
        "  learning         understudy learn on PATH      (off until you say so; `understudy learn preview` shows first)\n"
        "  everything else  understudy --help"
    )
