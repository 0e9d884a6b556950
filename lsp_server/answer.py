"""What goes into the path of a keystroke and what comes out of it. No LSP types: the server translates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .cursor import Cursor
from .skip import Skip


class Source(StrEnum):
    """How an answer was found."""

    EXACT = "exact"
    """Said before at this very place."""
    TYPED = "typed"
    """The rest of what was said a little before and typed through."""
    AHEAD = "ahead"
    """Prepared while the suggestion before it was shown."""
    STREAM = "stream"
    """A generation that was running already, and that the user typed along."""
    MODEL = "model"
    """Asked now."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question of the editor."""

    cursor: Cursor
    """The place; behind the selected popup entry, if one is selected."""
    path: Path | None
    """The file; None for a new document."""
    folder: Path | None
    """The workspace folder that holds it."""
    invoked: bool
    """Asked for by hand, and not because something was typed."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text for the cursor's place, which also replaces `covers` code points right of it."""

    id: str
    text: str
    covers: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Suggestions, the first one best; or none, and why."""

    suggestions: tuple[Suggestion, ...] = ()
    source: Source | None = None
    skip: Skip | None = None
    latency_ms: float = 0.0
