"""What is judged on: the held-out hunks, in two halves, and the frozen general set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from local_runtime.general_set import general_holes
from trainer.edits import Example, Kind
from trainer.gate.thresholds import Thresholds

Hunk = tuple[int, str, str]
"""Examples of one hunk differ in where its first line is cut; they share what follows it."""


def hunk_of(example: Example) -> Hunk:
    """The hunk that an example was made from; what belongs to no edit stands for itself."""
    hole = example.hole
    return example.edit_id, hole.path, hole.suffix if example.edit_id else f"{hole.prefix}\0{hole.suffix}"


def newest(pool: Sequence[Example], thresholds: Thresholds) -> list[Example]:
    """The usable examples of the newest hunks, oldest first."""
    usable = [
        one
        for one in pool
        if one.middle.strip() and len(one.middle.encode("utf-8", "replace")) <= thresholds.max_target_bytes
    ]
    usable.sort(key=lambda one: (one.saved, one.edit_id))
    kept = set(list(dict.fromkeys(hunk_of(one) for one in reversed(usable)))[: thresholds.max_hunks])
    return [one for one in usable if hunk_of(one) in kept]


def halves(pool: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """One half to choose the strength on, one to judge on. An edit is never in both; the halves have about as many hunks.

    Examples that belong to no edit are taken file by file.
    """
    edits: dict[object, list[Example]] = {}
    for one in pool:
        edits.setdefault(one.edit_id or PurePosixPath(one.hole.path), []).append(one)
    sides: tuple[list[Example], list[Example]] = ([], [])
    n_hunks = [0, 0]
    # The largest edits first: then the smaller ones can even it out.
    for examples in sorted(edits.values(), key=_n_hunks, reverse=True):
        side = int(n_hunks[1] <= n_hunks[0])
        sides[side].extend(examples)
        n_hunks[side] += _n_hunks(examples)
    return sides


def _n_hunks(examples: Sequence[Example]) -> int:
    return len({hunk_of(one) for one in examples})


def general_examples(at_most: int | None = None) -> list[Example]:
    """The frozen general set that ships with the project, or so many places spread over it."""
    holes = general_holes()
    n = min(at_most or len(holes), len(holes))
    chosen = [holes[i * len(holes) // n] for i in range(n)]
    return [Example(one.hole, one.middle, saved=0.0, kind=Kind.GENERAL) for one in chosen]
