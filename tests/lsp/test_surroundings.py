"""What the editor shows and does reaches the ground floor's context, and comes back in time or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server.answer import Request
from lsp_server.cursor import cursor_at
from lsp_server.documents import Change, Document, Documents, Encoding, Position
from lsp_server.files import Files
from lsp_server.settings import Settings
from lsp_server.surroundings import Surroundings

NEIGHBOUR = "def measure_distance(origin, target):\n    return abs(target - origin)\n" * 6


class Window:
    """A workspace with documents."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.documents = Documents()
        self.documents.folders = (folder,)
        self.surroundings = Surroundings(self.documents)
        self.surroundings.settings = settings

    def open(self, name: str, text: str) -> Document:
        document = self.documents.open((self.documents.folders[0] / name).as_uri(), "python", 1, text)
        self.surroundings.opened(document)
        return document

    async def related(self, document: Document, deadline_ms: float = 5_000) -> list[str]:
        """For the end of the document."""
        end = Position(len(document.lines) - 1, len(document.lines[-1]))
        request = Request(cursor_at(self.documents, document, end), document.path, self.documents.folders[0], False)
        return [chunk.path for chunk in await self.surroundings.related(request, deadline_ms)]


ASKS = "def total(origin, target):\n    return measure_distance("


async def test_an_open_neighbour_is_shown_and_a_switch_hides_it(workspace: Path) -> None:
    only = replace(Settings(), context_recent=False, context_definitions=False, context_search=False)
    window = Window(workspace, only)
    window.open("geometry.py", NEIGHBOUR)
    document = window.open("a.py", ASKS)
    assert await window.related(document) == ["geometry.py"]
    window.surroundings.settings = replace(only, context_neighbours=False)
    assert await window.related(document) == []
    window.surroundings.close()


async def test_a_cancel_that_comes_with_the_answer_is_a_cancel(workspace: Path) -> None:
    window = Window(workspace, replace(Settings(), context_search=False))
    document = window.open("a.py", ASKS)
    asking = asyncio.create_task(window.related(document))
    keep = window.surroundings._keep
    window.surroundings._keep = lambda *answer: (asking.cancel(), keep(*answer))  # type: ignore[assignment]
    with pytest.raises(asyncio.CancelledError):
        await asking
    window.surroundings.close()


async def test_what_was_forgotten_is_not_shown(workspace: Path) -> None:
    window = Window(workspace, replace(Settings(), context_search=False))
    other = window.open("geometry.py", NEIGHBOUR)
    document = window.open("a.py", ASKS)
    assert await window.related(document) == ["geometry.py"]
    window.surroundings.forget(other)
    assert await window.related(document) == []
    window.surroundings.close()


async def test_too_late_means_what_was_chosen_last(workspace: Path) -> None:
    window = Window(workspace, replace(Settings(), context_search=False))
    window.open("geometry.py", NEIGHBOUR)
    document = window.open("a.py", ASKS)
    assert await window.related(document, deadline_ms=0) == []
    first = await window.related(document)
    assert first == ["geometry.py"]
    document.apply(Change("\n    return "), Encoding.UTF16)
    assert await window.related(document, deadline_ms=0) == first
    window.surroundings.close()


async def test_pieces_stay_while_a_line_is_typed(workspace: Path) -> None:
    window = Window(workspace, replace(Settings(), context_search=False, context_recent=False))
    window.open("geometry.py", NEIGHBOUR)
    document = window.open("a.py", ASKS)
    assert await window.related(document) == ["geometry.py"]
    window.open("other.py", NEIGHBOUR.replace("abs", "-abs") + "measure_distance(origin, target)\n")
    assert await window.related(document) == ["geometry.py"]
    end = Position(len(document.lines) - 1, len(document.lines[-1]))
    document.apply(Change("1)\n    return measure_distance(", end, end), Encoding.UTF16)
    assert "other.py" in await window.related(document)
    window.surroundings.close()


async def test_the_workspace_is_searched_while_the_user_pauses(workspace: Path) -> None:
    (workspace / "geometry.py").write_text(NEIGHBOUR)
    window = Window(
        workspace, replace(Settings(), context_recent=False, context_neighbours=False, context_definitions=False)
    )
    document = window.open("a.py", ASKS)
    async with asyncio.timeout(20):
        while await window.related(document) != ["geometry.py"]:
            window.surroundings._last_asked = 0.0
            window.surroundings._chosen_for.clear()
            await asyncio.sleep(0.01)
    window.surroundings.close()


def test_rules_are_asked_once_and_again_after_a_change(workspace: Path) -> None:
    files, path = Files(), workspace / "build" / "a.py"
    assert not files.is_ignored(path, workspace)
    (workspace / ".gitignore").write_text("build/\n")
    assert not files.is_ignored(path, workspace), "a keystroke reads no rule file"
    files.forget_rules()
    assert files.is_ignored(path, workspace)
    assert files.is_secret(workspace / ".env", workspace)
    assert not files.is_ignored(Path("/elsewhere/build/a.py"), None)
