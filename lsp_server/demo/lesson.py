"""The demo's second half: a repository with a style that no model has seen is learnt, judged, and served.

It happens in a home of its own below the cache folder, so that nothing of it mixes with what is learnt from its user.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Table

from local_runtime.client.client import AsyncClient
from local_runtime.client.wire import BASE
from local_runtime.model.chosen import choose, chosen_model
from local_runtime.places import folder, places
from lsp_server.demo.house import EMAIL, build, new_file
from lsp_server.demo.screen import print_line
from lsp_server.demo.typing import Score, Watch, Window, type_file

HOME = "UNDERSTUDY_HOME"
ROOM_SECONDS = 900.0
SETTINGS = """\
[learn]
resume_seconds = 1      # nobody types here but the demo itself
preset = "taste"        # a night of minutes; without these two it is what your own nights are
judged_places = 50
"""


def learn_and_compare(console: Console) -> None:
    """Type a new file in the repository's style with the base, learn, type it again, and print both side by side.

    It is typed in an empty folder: there is nothing near it to copy from, so what the second time knows was learnt.
    """
    if shutil.which("git") is None:
        raise click.ClickException("the lesson's repository needs git, which is not in PATH")
    with _home() as home:
        house = home / "house"
        is_new = not (house / ".git").exists()
        if is_new:
            console.print("\nA small repository with a style of its own: 60 days of history, 300 handlers.")
            shutil.rmtree(house, ignore_errors=True)
            build(folder(house))
        console.print("\nA new file in that style, in an empty folder, typed with the base model:\n")
        before, _ = asyncio.run(_type_new_file(partial(print_line, console), with_base=True))
        if is_new or not _has_adapter(home):
            _understudy("learn", "on", str(house), "--since", "90d", "--author", EMAIL, "--yes", "--no-service")
            _understudy("learn", "now")
        console.print("\nThe same new file once more, with what was learnt:\n")
        after, name = asyncio.run(_type_new_file(partial(print_line, console)))
        _understudy("runtime", "stop")
    _print_table(console, before, after, name)


@contextmanager
def _home() -> Iterator[Path]:
    """A home of its own, which shares models, compiled libraries and packed weights with the user's."""
    own, model = places(), chosen_model()
    home = folder(own.cache / "demo")
    for shared in (own.models, own.libraries, own.packed):
        link = home / ("data" if shared == own.models else "cache") / shared.name
        folder(link.parent)
        if not link.is_symlink():
            link.symlink_to(folder(shared), target_is_directory=True)
    (folder(home / "config") / "config.toml").write_text(SETTINGS)
    earlier = os.environ.get(HOME)
    os.environ[HOME] = str(home)
    try:
        choose(model)
        yield home
    finally:
        if earlier is None:
            del os.environ[HOME]
        else:
            os.environ[HOME] = earlier


def _has_adapter(home: Path) -> bool:
    return any((home / "data" / "adapters").glob("personal-*"))


def _understudy(*arguments: str) -> None:
    """One of our own commands, as a user would call it, its output in this terminal."""
    print(f"\n$ understudy {' '.join(arguments)}", flush=True)
    code = "from local_runtime.cli.command import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code, *arguments], check=False)
    if done.returncode:
        raise click.ClickException(f"`understudy {' '.join(arguments)}` failed with status {done.returncode}")


async def _type_new_file(watch: Watch, with_base: bool = False) -> tuple[Score, str]:
    """A file that the repository does not have, typed with what serves or with the base; and the adapter's name."""
    opening, typed = new_file()
    async with AsyncClient("demo") as client:
        await client.wait_ready(ROOM_SECONDS)
        serving = (await client.adapters()).active
        if with_base:
            await client.activate(None)
        with TemporaryDirectory() as empty:
            window = Window(Path(empty) / "handlers" / "sextant.py", Path(empty))
            await window.open(opening)
            try:
                score = await type_file(window, opening, typed, 0.0, watch)
            finally:
                await window.close()
                await client.activate(serving.adapter, serving.strength)
    return score, serving.adapter or BASE


def _print_table(console: Console, before: Score, after: Score, name: str) -> None:
    table = Table("a file nobody wrote yet, in the house's style", "base", name)
    table.add_row("keys typed", str(before.n_keys), str(after.n_keys))
    table.add_row("keys that accepting saves", str(before.n_saved), str(after.n_saved))
    console.print()
    console.print(table)
