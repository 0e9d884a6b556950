"""`understudy demo`: a file is typed into the real language server, key by key, and what it suggests is shown.

Nothing is staged: the server is the one that editors start, the daemon and the model are this user's.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from rich.console import Console
from rich.text import Text

from local_runtime.client import AsyncClient
from local_runtime.daemon.wire import Health

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


@dataclass(frozen=True, slots=True)
class Seen:
    """What was on the screen after one key."""

    line: str
    """The line as typed so far."""
    ghost: str
    rest: str
    """What the user will really type on this line."""
    latency_ms: float

    @property
    def is_right(self) -> bool:
        """Whether accepting the first line of the suggestion would finish the typed line."""
        return bool(self.rest.strip()) and self.ghost.split("\n")[0] == self.rest


class Window(LanguageClient):
    """An editor's side of the protocol, with one document."""

    def __init__(self, uri: str) -> None:
        super().__init__("understudy-demo", "1")
        self.uri = uri
        self.n_edits = 1
        self.feature("understudy/status")(lambda _status: None)

    async def open(self, text: str) -> None:
        """Start the server and show it the document."""
        await self.start_io(sys.executable, "-P", "-c", "from local_runtime.command import main; main()", "lsp")
        await self.initialize_async(
            types.InitializeParams(capabilities=types.ClientCapabilities(), process_id=os.getpid())
        )
        self.initialized(types.InitializedParams())
        document = types.TextDocumentItem(self.uri, "python", self.n_edits, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(document))

    def show(self, text: str) -> None:
        """The document's new text."""
        self.n_edits += 1
        document = types.VersionedTextDocumentIdentifier(self.n_edits, self.uri)
        change = types.TextDocumentContentChangeWholeDocument(text)
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

    async def ghost(self, text: str) -> str:
        """What would be shown at the end of `text`; empty for silence."""
        lines = text.split("\n")
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            types.TextDocumentIdentifier(self.uri),
            types.Position(len(lines) - 1, len(lines[-1])),
        )
        answer = await self.text_document_inline_completion_async(params)
        items = answer.items if isinstance(answer, types.InlineCompletionList) else answer or []
        return str(items[0].insert_text) if items else ""

    async def close(self) -> None:
        """Let the server end, as an editor does."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.shutdown_async(None), 5)
        self.exit(None)
        await self.stop()  # type: ignore[no-untyped-call]


@click.command(epilog="\b\nExamples:\n  understudy demo\n  understudy demo --quick     no pauses between the keys")
@click.option("--quick", is_flag=True, help="Type as fast as answers come.")
def demo(quick: bool) -> None:
    """Watch the real language server complete a file as it is typed."""
    asyncio.run(_demo(Console(), 0.0 if quick else KEY_SECONDS))


async def _demo(console: Console, key_seconds: float) -> None:
    await _start(console)
    with tempfile.TemporaryDirectory() as folder:
        window = Window((Path(folder) / "notes.py").as_uri())
        await window.open(OPENING)
        try:
            seen = await _type(window, console, key_seconds)
        finally:
            await window.close()
    _sum_up(console, seen)


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


async def _type(window: Window, console: Console, key_seconds: float) -> list[Seen]:
    """Type line after line; after each, print the first suggestion that was right, or the last one there was."""
    seen: list[Seen] = []
    text = OPENING
    for line in TYPED.splitlines():
        on_line: list[Seen] = []
        for n, key in enumerate(line, 1):
            text += key
            window.show(text)
            if not line[:n].strip():
                continue
            began = time.perf_counter()
            ghost = await window.ghost(text)
            took = time.perf_counter() - began
            on_line.append(Seen(line[:n], ghost, line[n:], took * 1000))
            await asyncio.sleep(max(0.0, key_seconds - took))
        text += "\n"
        window.show(text)
        seen += on_line
        _print_line(console, line, on_line)
    return seen


def _print_line(console: Console, line: str, on_line: list[Seen]) -> None:
    shown = [one for one in on_line if one.ghost]
    best = next((one for one in shown if one.is_right), shown[-1] if shown else None)
    if best is None:
        console.print(Text(f"  {line}"))
        return
    first = best.ghost.split("\n")[0]
    row = Text("  ").append(best.line, "bold").append(first, "green dim" if best.is_right else "dim italic")
    row.append(f"    {best.latency_ms:.0f} ms", "cyan")
    if not best.is_right:
        row.append(f"   (typed on: {best.rest.strip() or 'nothing'})", "dim")
    console.print(row, no_wrap=True, overflow="ellipsis")


def _sum_up(console: Console, seen: list[Seen]) -> None:
    answered = [one for one in seen if one.ghost]
    right = sum(one.is_right for one in seen)
    console.print(
        f"\n{len(seen)} keys, {len(answered)} with a suggestion, {right} with exactly the rest of the line; "
        f"median {statistics.median(one.latency_ms for one in answered):.0f} ms from key to suggestion."
        if answered
        else "\nNo suggestion at all: `understudy why` tells the reasons."
    )
    console.print("\nNext: bring a bigger model with `understudy model import PATH`; `understudy --help` has the rest.")
