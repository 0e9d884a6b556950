"""Feeds the ground floor's context with what the editor shows and does, and asks it at a keystroke.

All of it lives on one thread of its own, since it reads files and a database; the event loop only waits for an answer, and not
longer than it was told. Pieces are chosen once per line: while a line is typed its prompt, and so the KV cache, stays as it
was, and nobody waits. Too late, the pieces of the line before serve again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from local_runtime.context.ignore import IgnoreRules
from local_runtime.context.search import Refreshed, WorkspaceIndex
from local_runtime.context.workspace import Kind, WorkspaceContext
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Chunk, Hole

from .answer import Request
from .cursor import cursor_at, shown_path
from .documents import Document, Documents, Position
from .settings import Settings

IDLE_SECONDS = 1.0
"""The search index grows only while nobody has typed for this long."""
REFRESH_SECONDS = 900.0
FAR_LINES = 32
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Workspace:
    context: WorkspaceContext
    index: WorkspaceIndex | None


class Surroundings:
    """One per editor window. Methods are called on the event loop and return at once."""

    def __init__(self, documents: Documents) -> None:
        self.settings = Settings()
        self._documents = documents
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="context")
        self._workspaces: dict[tuple[Path, frozenset[Kind]], _Workspace] = {}
        self._chosen: dict[str, tuple[Chunk, ...]] = {}
        self._chosen_for: dict[str, tuple[int, frozenset[Kind]]] = {}
        self._changed: set[str] = set()
        self._lines: dict[str, int] = {}
        self._indexing: dict[Path, asyncio.Task[None]] = {}
        self._last_asked = 0.0

    def opened(self, document: Document) -> None:
        """A document was opened."""
        root = self._root(document.path)
        if root is None:
            return
        if (  # first of all: whether there is an index is decided when the workspace is made
            self.settings.context_search
            and self._documents.folder_of(document.path or root) == root
            and root not in self._indexing
        ):
            self._indexing[root] = asyncio.get_running_loop().create_task(self._keep_indexed(root))
        self._changed.add(document.uri)
        self._visit(document, 0)
        self._learn_imports(root, document)

    def changed(self, document: Document, line: int) -> None:
        """A document was edited at a line. Nothing is copied: its text is asked for when another document needs it."""
        self._changed.add(document.uri)
        if abs(line - self._lines.get(document.uri, 0)) >= FAR_LINES:
            self._visit(document, line)

    def saved(self, document: Document) -> None:
        """A document was saved."""
        root = self._root(document.path)
        if root is not None:
            path, text = shown_path(self._documents, document), document.text
            self._tell(root, lambda workspace: workspace.context.saved(path, text))
            self._tell(root, lambda workspace: workspace.index.update(path) if workspace.index else None)

    def closed(self, document: Document) -> None:
        """A document was closed."""
        self._chosen.pop(document.uri, None)
        self._chosen_for.pop(document.uri, None)
        self._changed.discard(document.uri)
        root = self._root(document.path)
        if root is not None:
            path = shown_path(self._documents, document)
            self._tell(root, lambda workspace: workspace.context.closed(path))

    def forget(self, document: Document) -> None:
        """Nothing of this file is shown to the model again."""
        self._chosen.clear()
        self._chosen_for.clear()
        root = self._root(document.path)
        if root is not None:
            path = shown_path(self._documents, document)
            self._tell(root, lambda workspace: workspace.context.forget(path))

    async def related(self, request: Request, deadline_ms: float) -> tuple[Chunk, ...]:
        """Related pieces for a place: those of its line; those chosen last, if new ones cannot be had in time."""
        loop = asyncio.get_running_loop()
        self._last_asked = loop.time()
        uri, root = request.cursor.uri, self._root(request.path)
        occasion = (request.cursor.position.line, self._kinds())
        if root is None or not occasion[1]:
            return ()
        if self._chosen_for.get(uri) == occasion:
            return self._chosen[uri]
        self._hand_over(except_for=uri)
        asked = loop.run_in_executor(self._thread, self._choose, root, request.cursor.hole)
        asked.add_done_callback(lambda answer: self._keep(uri, occasion, answer))
        try:
            async with asyncio.timeout(deadline_ms / 1000):  # `wait_for` of Python 3.11 may swallow a cancel
                await asyncio.shield(asked)
        except TimeoutError:
            pass
        except Exception:  # a damaged index costs the context, never the suggestion
            log.exception("related places cannot be chosen")
        return self._chosen.get(uri, ())

    def forget_rules(self) -> None:
        """A rule file has changed."""
        self._chosen_for.clear()
        self._thread.submit(self._workspaces.clear)

    def close(self) -> None:
        """End the thread."""
        for task in self._indexing.values():
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _keep(self, uri: str, occasion: tuple[int, frozenset[Kind]], answer: asyncio.Future[tuple[Chunk, ...]]) -> None:
        if not answer.cancelled() and answer.exception() is None and self._documents.get(uri) is not None:
            self._chosen[uri] = answer.result()
            self._chosen_for[uri] = occasion

    def _choose(self, root: Path, hole: Hole) -> tuple[Chunk, ...]:
        return self._workspace(root).context.related(hole).chunks

    def _hand_over(self, except_for: str) -> None:
        """Tell of the documents that were edited since; the one at hand can wait."""
        for uri in self._changed - {except_for}:
            document = self._documents.get(uri)
            root = self._root(document.path) if document else None
            if document is not None and root is not None:
                path, text = shown_path(self._documents, document), document.text
                self._tell(root, lambda workspace, path=path, text=text: workspace.context.opened(path, text))  # type: ignore[misc]
        self._changed &= {except_for}

    def _visit(self, document: Document, line: int) -> None:
        self._lines[document.uri] = line
        root = self._root(document.path)
        if root is not None:
            path, text = shown_path(self._documents, document), document.text
            self._tell(root, lambda workspace: workspace.context.visited(path, text, line))

    def _learn_imports(self, root: Path, document: Document) -> None:
        hole = cursor_at(self._documents, document, Position(0, 0)).hole
        if self.settings.context_definitions:
            self._tell(root, lambda workspace: workspace.context.learn_imports(hole))

    def _tell(self, root: Path, work: Callable[[_Workspace], object]) -> None:
        def run() -> None:
            try:
                work(self._workspace(root))
            except (OSError, sqlite3.Error):
                log.exception("the context of %s", root)

        self._thread.submit(run)

    async def _keep_indexed(self, root: Path) -> None:
        """Refresh the index step by step while the user pauses, and again from time to time."""
        loop = asyncio.get_running_loop()
        while True:
            workspace = await loop.run_in_executor(self._thread, self._workspace, root)
            steps = workspace.context.refresh()
            while await self._step(steps) is not None:
                while (pause := self._last_asked + IDLE_SECONDS - loop.time()) > 0:
                    await asyncio.sleep(pause)
            await asyncio.sleep(REFRESH_SECONDS)

    async def _step(self, steps: Iterator[Refreshed]) -> Refreshed | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, next, steps, None)
        except (OSError, sqlite3.Error):
            log.exception("the search index")
            return None

    def _workspace(self, root: Path) -> _Workspace:
        """Made on the thread, since its database belongs to the thread."""
        key = (root, self._kinds())
        if key not in self._workspaces:
            rules = IgnoreRules(root)
            index = WorkspaceIndex(_database(root), rules) if Kind.SEARCH in key[1] and root in self._indexing else None
            context = WorkspaceContext(rules, index, budget_ms=self.settings.context_deadline_ms, kinds=key[1])
            self._workspaces[key] = _Workspace(context, index)
        return self._workspaces[key]

    def _kinds(self) -> frozenset[Kind]:
        wanted = {
            Kind.RECENT: self.settings.context_recent,
            Kind.NEIGHBOURS: self.settings.context_neighbours,
            Kind.DEFINITIONS: self.settings.context_definitions,
            Kind.SEARCH: self.settings.context_search,
        }
        return frozenset(kind for kind, is_wanted in wanted.items() if is_wanted)

    def _root(self, path: Path | None) -> Path | None:
        """The workspace folder of a file; its own folder where it is in none."""
        return None if path is None else self._documents.folder_of(path) or path.parent


def _database(root: Path) -> Path:
    return folder(places().data / "index") / f"{hashlib.sha256(str(root).encode()).hexdigest()[:24]}.sqlite"
