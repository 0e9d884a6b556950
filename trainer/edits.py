"""The values that cross the trainer: an edit as it was saved, an example made of it, and what the gate said.

Collecting, making examples, training and judging know each other by these alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from local_runtime.prompts.hole import Chunk, Hole


class Origin(StrEnum):
    """How an edit came to be known."""

    SAVE = "save"  # the watcher saw the file being saved
    SCAN = "scan"  # it happened while nobody watched, and was found at the next start
    COMMIT = "commit"  # from the user's own git history


@dataclass(frozen=True, slots=True)
class EditEvent:
    """One settled edit of one file. What the hygiene rules stop never becomes one."""

    path: str
    """Absolute, with forward slashes."""
    root: str
    """The folder, absolute, that the user opted in and below which `path` lies."""
    language: str
    """LSP language identifier."""
    before: str
    """The whole file before; empty when it was new."""
    after: str
    """The whole file as it was saved."""
    saved: float
    """Unix time, seconds, of the save or of the commit's author."""
    origin: Origin = Origin.SAVE
    id: int = 0
    """Row of the journal; 0 until it is stored."""

    @property
    def model_path(self) -> str:
        """The path as a model may see it: relative to the root."""
        return self.path.removeprefix(self.root).lstrip("/")


class Kind(StrEnum):
    """Where an example's span comes from."""

    HUNK = "hunk"  # what the user really inserted, into the file as it stood before
    LINE = "line"  # from the cursor to the end of a line
    BLOCK = "block"  # several lines
    NODE = "node"  # a syntax node
    RANDOM = "random"
    EMPTY = "empty"  # nothing is missing: teaches silence
    GENERAL = "general"  # the general set, or other replay: guards against forgetting


@dataclass(frozen=True, slots=True)
class Example:
    """A hole, what belongs into it, and how much it counts."""

    hole: Hole
    middle: str
    saved: float
    """Unix time, seconds, of the edit it was made from."""
    weight: float = 1.0
    chunks: tuple[Chunk, ...] = ()
    """Related pieces, as the runtime's own context would give them for this place."""
    kind: Kind = Kind.HUNK
    edit_id: int = 0
    """`EditEvent.id`; 0 for what is not the user's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided, why, and on which figures."""

    promote: bool
    reasons: tuple[str, ...]
    """Sentences, the decisive one first."""
    strength: float = 1.0
    """The strength at which the candidate is to serve."""
    metrics: dict[str, float] = field(default_factory=dict)
