"""What the model already said: answered again at the same place, and further along when the user types what was shown.

A place is known by what is near it (the lines above and below), not by the whole window: scrolling, or an edit far away,
does not forget. Keys carry model, adapter and strength, so that a swap can never show another adapter's text.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

from .cursor import Cursor
from .extent import Scope

N_PLACES = 500
LINES_ABOVE = 24
LINES_BELOW = 8
LINES_BACK = 12
"""How many lines of a shown block may have been typed through."""
CLOSERS = ")]}\"'`>"
"""What editors put behind the cursor on their own when its opening twin is typed."""


class Voice(NamedTuple):
    """Who speaks: texts of one are never shown for another."""

    model: str
    adapter: str | None
    strength: float


@dataclass(frozen=True, slots=True)
class Said:
    """Raw model text at a place, and how it came to be."""

    text: str
    complete: bool
    """False if the deadline, the length or a cancel cut it short."""
    scope: Scope
    logprob: float
    """Mean log-probability per token, nats."""
    typed: str = ""
    """What the user has typed of it since; `text` is the rest."""
    ahead: bool = False
    """Said before it was asked for."""


class _Entry(NamedTuple):
    line_prefix: str
    line_suffix: str
    said: Said


class Cache:
    """An LRU over places, in memory."""

    def __init__(self, n_places: int = N_PLACES) -> None:
        self._n_places = n_places
        self._places: OrderedDict[tuple[object, ...], list[_Entry]] = OrderedDict()

    def put(self, cursor: Cursor, voice: Voice, said: Said) -> None:
        """Remember. A complete text is never replaced by an incomplete one."""
        above, line_prefix = _split(cursor.hole.prefix)
        key = _key(cursor, voice, above)
        entry = _Entry(line_prefix, cursor.line_suffix, said)
        known = self._places.setdefault(key, [])
        for old in known:
            if old[:2] == entry[:2]:
                if old.said.complete and not said.complete:
                    return
                known.remove(old)
                break
        known.append(entry)
        self._places.move_to_end(key)
        while len(self._places) > self._n_places:
            self._places.popitem(last=False)

    def get(self, cursor: Cursor, voice: Voice) -> Said | None:
        """What was said here (`typed` is empty), or the rest of what was said a little before and typed through since."""
        above, typed = _split(cursor.hole.prefix)
        suffix = cursor.line_suffix
        for _ in range(LINES_BACK + 1):
            key = _key(cursor, voice, above)
            for entry in sorted(self._places.get(key, ()), key=lambda entry: -len(entry.line_prefix)):
                rest = _rest(entry, typed, suffix)
                if rest is not None:
                    self._places.move_to_end(key)
                    return rest
            if not above:
                return None
            typed = above[-1] + "\n" + typed
            above = above[:-1]
        return None

    def forget(self, path: str) -> None:
        """Drop all that was said in a file."""
        for key in [key for key in self._places if key[0] == path]:
            del self._places[key]

    def clear(self) -> None:
        """Drop everything."""
        self._places.clear()


def _split(prefix: str) -> tuple[list[str], str]:
    *above, line = prefix.rsplit("\n", LINES_ABOVE + LINES_BACK + 1)[-(LINES_ABOVE + LINES_BACK + 1) :]
    return above, line


def _key(cursor: Cursor, voice: Voice, above: list[str]) -> tuple[object, ...]:
    below = cursor.hole.suffix.split("\n", LINES_BELOW + 1)[1 : LINES_BELOW + 1]
    return (cursor.hole.path, voice, tuple(above[-LINES_ABOVE:]), tuple(below))


def _rest(entry: _Entry, typed: str, line_suffix: str) -> Said | None:
    """The rest of an entry for a cursor that stands `typed` behind the start of the entry's line; None if it does not fit."""
    if not typed.startswith(entry.line_prefix):
        return None
    through = typed[len(entry.line_prefix) :]
    if not entry.said.text.startswith(through) or (through and through == entry.said.text):
        return None
    if line_suffix != entry.line_suffix and not (through and _closed_by_editor(entry.line_suffix, line_suffix)):
        return None
    if not through:
        return entry.said
    return replace(entry.said, text=entry.said.text[len(through) :], typed=through)


def _closed_by_editor(before: str, now: str) -> bool:
    added = now.removesuffix(before)
    return len(added) + len(before) == len(now) and all(character in CLOSERS for character in added)
