"""Why something is not learnt from. Every refusal is a value with a name and a sentence, and is counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """Reasons, the value being the sentence that the user reads."""

    OUTSIDE = "it lies outside the folder that was opted in"
    LINK = "it is a symbolic link"
    IGNORED = "an ignore file names it"
    VENDORED = "it is somebody else's code, kept in the project"
    GENERATED = "a program wrote it"
    SECRET_FILE = "its name is that of a secret file"
    PRIVATE_KEY = "it holds a private key"
    SECRET = "it holds what looks like a key or a password"
    PERSONAL = "it holds an e-mail address"
    BINARY = "it is not text"
    TOO_LARGE = "it is larger than 1 MB or 10,000 lines"
    LONG_LINES = "its lines are too long to have been typed"
    FEW_LETTERS = "it is more signs than words: data, not code"
    NOT_CODE = "its language is not known"
    FORMATTING = "only its formatting changed"
    MOVED = "its text was only moved"
    EXACT_DUPLICATE = "the same text was learnt from before"
    NEAR_DUPLICATE = "almost the same text was learnt from before"
    BULK = "too much changed at once to have been typed"
    SWITCHED = "git wrote it: a checkout, a rebase, a stash"
    GONE = "git no longer has it"


HUNK_REFUSALS = frozenset({Refusal.SECRET, Refusal.PERSONAL, Refusal.FORMATTING, Refusal.MOVED})
"""Reasons that may hold for a part of an edit, while the rest of it is learnt from."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One thing that was left out, named without a word of its text."""

    path: str
    root: str
    reason: Refusal
    n: int = 1
    """How many edits, or hunks."""
    last: float = 0.0
    """Unix time, seconds, of the last of them; 0 where none is known."""
