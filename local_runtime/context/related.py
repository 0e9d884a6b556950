"""Which related pieces the model sees, and in which order: what was shown before stays where it was.

Related pieces come first in a prompt, so a change among them costs the whole KV cache. A piece that was chosen keeps its
place while it is still a candidate; new ones are appended; one is replaced only when a far better candidate has no room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from local_runtime.context.chunks import Excerpt, line_set
from local_runtime.prompts.hole import Chunk, Hole

REPEATS = 0.6
"""A piece this similar to the lines at the cursor tempts a model to repeat them."""
_MIN_OVERLAP_CHARS = 40


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be shown, and what the prompt shows anyway."""

    related_chars: int = 2000
    """About the tokens that `fim.Budget` has for related pieces, at 3 to 4 characters each."""
    prefix_chars: int = 3000
    suffix_chars: int = 1200


DEFAULT_ROOM = Room()


def choose(
    candidates: Sequence[Excerpt], hole: Hole, previous: Sequence[Chunk] = (), room: Room = DEFAULT_ROOM
) -> tuple[Chunk, ...]:
    """The pieces to show, in the order of the prompt. `candidates` come best first; `previous` is the last answer."""
    wanted = list(dict.fromkeys(found.chunk for found in admissible(candidates, hole, room)))
    best = _fitting(wanted, room.related_chars)
    still = set(wanted)
    kept = [chunk for chunk in previous if chunk in still]
    missing = [chunk for chunk in best if chunk not in kept]
    # The better half of the best has a claim on room; the rest is shown only where nothing has to go for it.
    claimed = [chunk for chunk in missing if chunk in best[: (len(best) + 1) // 2]]
    worst_first = sorted(kept, key=wanted.index, reverse=True)
    while claimed and worst_first and _chars([*kept, *claimed]) > room.related_chars:
        kept.remove(worst_first.pop(0))
    return tuple(_fitting([*kept, *claimed, *(c for c in missing if c not in claimed)], room.related_chars))


def admissible(candidates: Iterable[Excerpt], hole: Hole, room: Room = DEFAULT_ROOM) -> list[Excerpt]:
    """Candidates without those that the prompt shows anyway, that repeat it or each other, or that could hold the answer.

    A piece of the hole's own file is admitted only if it stands word for word in the text before or after the visible
    window: a copy from before the hole was made, which may contain what is asked for, never does.
    """
    before = hole.prefix[: -room.prefix_chars] if len(hole.prefix) > room.prefix_chars else ""
    after = hole.suffix[room.suffix_chars :]
    visible = hole.prefix[-room.prefix_chars :] + hole.suffix[: room.suffix_chars]
    at_cursor = line_set(visible)
    found: list[Excerpt] = []
    seen: list[frozenset[str]] = []
    for excerpt in candidates:
        lines = line_set(excerpt.text)
        if not lines or (excerpt.path == hole.path and excerpt.text not in before and excerpt.text not in after):
            continue
        if len(lines & at_cursor) > REPEATS * len(lines) or any(_repeats(lines, other) for other in seen):
            continue
        if len(excerpt.text) > _MIN_OVERLAP_CHARS and excerpt.text.strip() in visible:
            continue
        found.append(excerpt)
        seen.append(lines)
    return found


def _repeats(lines: frozenset[str], other: frozenset[str]) -> bool:
    """Whether most of the shorter of two pieces is in the longer: a signature and its function, two copies of a header."""
    return len(lines & other) > REPEATS * min(len(lines), len(other))


def _fitting(chunks: Sequence[Chunk], max_chars: int) -> list[Chunk]:
    """As many as there is room for, in order; one that is too long is passed over."""
    taken: list[Chunk] = []
    for chunk in chunks:
        if _chars([*taken, chunk]) <= max_chars:
            taken.append(chunk)
    return taken


def _chars(chunks: Iterable[Chunk]) -> int:
    return sum(len(chunk.path) + 1 + len(chunk.text) for chunk in chunks)
