"""What an edit or an example is, as a hash of its content: never a row number, never a position in a list.

All randomness is drawn from these, so that taking one edit away leaves every other example bit for bit as it was.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

from trainer.edits import EditEvent, Example


def edit_key(edit: EditEvent) -> str:
    """SHA-256 of what was saved, where below the root, and when."""
    return _digest((edit.model_path, edit.language, edit.before, edit.after, repr(edit.saved)))


def example_key(example: Example) -> str:
    """SHA-256 of all that a model sees of an example, its weight, and when it was saved; not of the journal's numbers."""
    hole = example.hole
    shown = (part for chunk in example.chunks for part in (chunk.path, chunk.text))
    return _digest(
        (hole.path, hole.language, hole.prefix, hole.suffix, example.middle, example.kind.value,
         repr(example.saved), repr(example.weight), *shown)
    )  # fmt: skip


def corpus_hash(examples: Iterable[Example]) -> str:
    """SHA-256 of examples in their order."""
    return _digest(map(example_key, examples))


def by_time(edits: Iterable[EditEvent]) -> list[EditEvent]:
    """Edits oldest first; those of one instant by their content, so that the journal's order plays no part."""
    return sorted(edits, key=lambda edit: (edit.saved, edit_key(edit)))


def draws(*parts: object) -> random.Random:
    """Random numbers that depend on `parts` alone, the same in every process."""
    return random.Random(_digest(map(str, parts)))


def luck(*parts: object) -> float:
    """One such number, 0 to 1."""
    return int(_digest(map(str, parts))[:13], 16) / float(1 << 52)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)  # lengths: no two lists of parts look alike
    return digest.hexdigest()
