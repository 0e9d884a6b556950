"""What the user really inserted, as holes: into the file as it stood, with what they had changed above already there."""

from __future__ import annotations

import difflib
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from local_runtime.prompts.hole import Hole
from trainer.edits import EditEvent, Example
from trainer.examples.identity import draws, edit_key
from trainer.spans import MAX_BLOCK_LINES, MAX_MIDDLE_CHARS, block_end

MIN_MIDDLE_CHARS = 3
_MOVED_SHARE = 0.8
_AT_START_SHARE = 0.5
_EXACT_DIFF_LINES = 3000
"""Longer changes are compared with difflib's shortcut for lines that are everywhere."""
_WORD_END = re.compile(r"\w+\Z")
_WORD_BEGIN = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Hunk:
    """One change of an edit. Earlier changes are in `prefix`, later ones not yet in `suffix`."""

    prefix: str
    """The file after the edit, up to this change."""
    removed: str
    inserted: str
    suffix: str
    """The file before the edit, from behind this change on."""


def hunks(before: str, after: str) -> Iterator[Hunk]:
    """The changed runs of lines, top to bottom, each narrowed to the words that differ."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    starts_old, starts_new = _starts(old), _starts(new)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=max(len(old), len(new)) > _EXACT_DIFF_LINES)
    for kind, old_1, old_2, new_1, new_2 in matcher.get_opcodes():
        if kind == "equal":
            continue
        removed = before[starts_old[old_1] : starts_old[old_2]]
        inserted = after[starts_new[new_1] : starts_new[new_2]]
        front, back = _shared_ends(removed, inserted)
        at = starts_new[new_1] + front
        rest = inserted[len(inserted) - back :] if back else ""
        yield Hunk(
            after[:at],
            removed[front : len(removed) - back],
            inserted[front : len(inserted) - back],
            rest + before[starts_old[old_2] :],
        )


def hunk_examples(edit: EditEvent, views: int = 1) -> list[Example]:
    """The insertions of one edit, as they were typed: top to bottom, a long one in pieces of at most a block.

    Every example is a hole in the file as it stood before it (changes above are there, changes below are not, and what a
    change replaced is gone), with the cursor behind the indentation of the piece's first line or further inside that line,
    and the rest of the piece as its middle: 3 to `MAX_MIDDLE_CHARS` characters. Deletions, moves and changes of white space
    alone give none. `views` cursors are drawn per piece; where they are depends on the edit's content alone.
    `chunks` is empty and `weight` 1: `trainer.examples.dataset` adds what it knows.
    """
    key = edit_key(edit)
    found: list[Example] = []
    changes = list(hunks(edit.before, edit.after))
    gone = Counter(line.strip() for change in changes for line in change.removed.splitlines() if line.strip())
    for number, change in enumerate(changes):
        if _says_nothing(change) or _moved(change, gone):
            continue
        seen = set()
        for start, end in pieces(change.inserted):
            for view in range(views):
                cursor = _cursor(change.inserted, start, end, draws(key, number, start, view))
                middle = change.inserted[cursor:end]
                if len(middle.strip()) < MIN_MIDDLE_CHARS or (cursor, end) in seen:
                    continue
                seen.add((cursor, end))
                hole = Hole(
                    edit.model_path,
                    edit.language,
                    change.prefix + change.inserted[:cursor],
                    # What will be typed below this piece is not there yet; the line's end is.
                    ("\n" if end < len(change.inserted) and change.inserted.endswith("\n") else "") + change.suffix,
                )
                found.append(Example(hole, middle, edit.saved, edit_id=edit.id))
    return found


def pieces(inserted: str) -> Iterator[tuple[int, int]]:
    """`inserted` in pieces `[start, end)` as one would type them: blocks of lines, without blank lines around them."""
    at = 0
    while at < len(inserted):
        line_end = inserted.find("\n", at)
        line_end = len(inserted) if line_end < 0 else line_end
        if not inserted[at:line_end].strip():
            at = line_end + 1
            continue
        end = block_end(inserted, at, MAX_BLOCK_LINES) if at == 0 or inserted[at - 1] == "\n" else line_end
        while end - at > MAX_MIDDLE_CHARS and (cut := inserted.rfind("\n", at, end)) > at:
            end = cut
        yield at, min(end, at + MAX_MIDDLE_CHARS)
        at = end + 1


def _cursor(text: str, start: int, end: int, rng: random.Random) -> int:
    """Behind the indentation of the piece's first line, or anywhere further in that line."""
    line_end = text.find("\n", start, end)
    line = text[start : line_end if line_end >= 0 else end]
    indent = start + len(line) - len(line.lstrip(" \t"))
    inside = indent + len(line.strip())
    if rng.random() < _AT_START_SHARE or inside - indent <= MIN_MIDDLE_CHARS:
        return indent
    return rng.randint(indent + 1, inside - MIN_MIDDLE_CHARS)


def _starts(lines: list[str]) -> list[int]:
    """Where each line starts, and where the last one ends."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    return starts


def _shared_ends(removed: str, inserted: str) -> tuple[int, int]:
    """How many characters two texts share in front and at the back, in whole words; 0 where nothing was removed."""
    most = min(len(removed), len(inserted))
    front = 0
    while front < most and removed[front] == inserted[front]:
        front += 1
    back = 0
    while back < most - front and removed[-1 - back] == inserted[-1 - back]:
        back += 1
    if back and front < len(inserted) - back and (word := _WORD_BEGIN.match(inserted, len(inserted) - back)):
        joined = re.match(r"\w", inserted[len(inserted) - back - 1])
        back -= len(word[0]) if joined else 0
    if front and (word := _WORD_END.search(inserted, 0, front)) and re.match(r"\w", inserted[front : front + 1]):
        front -= len(word[0])
    return front, max(back, 0)


def _says_nothing(change: Hunk) -> bool:
    """A deletion, or a change of white space alone."""
    return "".join(change.inserted.split()) == "".join(change.removed.split()) or not change.inserted.strip()


def _moved(change: Hunk, gone: Counter[str]) -> bool:
    """Whether most of what was inserted was removed elsewhere in the same edit."""
    lines = [line.strip() for line in change.inserted.splitlines() if line.strip()]
    return sum(line in gone for line in lines) >= _MOVED_SHARE * len(lines)
