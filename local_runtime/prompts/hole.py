"""Hole: the one concept that the cursor, the masked training span and the test question share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a file where text is missing."""

    path: str
    """Path as the model may see it: relative to the workspace, with forward slashes."""
    language: str
    """LSP language identifier, for example `python`."""
    prefix: str
    """All text of the file before the hole."""
    suffix: str
    """All text of the file after the hole."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A related piece of another place, shown to the model before the hole."""

    path: str
    text: str
