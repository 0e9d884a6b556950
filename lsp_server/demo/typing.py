"""An editor without a screen: types a file key by key into the real language server and notes what it would show."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lsprotocol import types
from pygls.lsp.client import LanguageClient


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


@dataclass(frozen=True, slots=True)
class Score:
    """One file's typing, summed up."""

    n_keys: int
    n_suggested: int
    n_right: int
    """Keys after which exactly the rest of the line was shown."""
    n_saved: int
    """Keys that need not have been pressed by somebody who accepts the first right suggestion of each line."""
    median_ms: float
    """From key to suggestion; 0 when there was none."""


class Window(LanguageClient):
    """An editor's side of the protocol, with one document."""

    def __init__(self, file: Path, root: Path | None = None) -> None:
        super().__init__("understudy-demo", "1")
        self._uri = file.as_uri()
        self._root_uri = root.as_uri() if root else None
        self._n_edits = 1
        self.feature("understudy/status")(lambda _status: None)

    async def open(self, text: str) -> None:
        """Start the server and show it the document."""
        await self.start_io(sys.executable, "-P", "-c", "from local_runtime.cli.command import main; main()", "lsp")
        capabilities = types.ClientCapabilities()
        await self.initialize_async(
            types.InitializeParams(capabilities, process_id=os.getpid(), root_uri=self._root_uri)
        )
        self.initialized(types.InitializedParams())
        document = types.TextDocumentItem(self._uri, "python", self._n_edits, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(document))

    def show(self, text: str) -> None:
        """The document's new text."""
        self._n_edits += 1
        document = types.VersionedTextDocumentIdentifier(self._n_edits, self._uri)
        change = types.TextDocumentContentChangeWholeDocument(text)
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

    async def ghost(self, text: str) -> str:
        """What would be shown at the end of `text`; empty for silence."""
        lines = text.split("\n")
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            types.TextDocumentIdentifier(self._uri),
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


Watch = Callable[[str, Sequence[Seen]], None]
"""Told after each line: the line, and what was seen while it was typed."""


async def type_file(window: Window, opening: str, typed: str, key_seconds: float, watch: Watch) -> Score:
    """Type `typed` below `opening` in an opened window."""
    seen: list[Seen] = []
    n_saved = 0
    text = opening
    for line in typed.splitlines():
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
        n_saved += next((len(one.rest) for one in on_line if one.is_right), 0)
        watch(line, on_line)
    suggested = [one.latency_ms for one in seen if one.ghost]
    n_right = sum(one.is_right for one in seen)
    return Score(len(seen), len(suggested), n_right, n_saved, statistics.median(suggested) if suggested else 0.0)
