"""A night's examples: what is new, in several shapes, some of what was learnt before, and a little of everybody's code.

Everything drawn depends on the seed and on the content of the edits, never on their number, order or rows in the journal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from local_runtime.prompts.fim import FimTokenizer
from local_runtime.records.outcomes import Outcome
from trainer.edits import EditEvent, Example, Kind
from trainer.examples.general import general_examples
from trainer.examples.hunks import hunk_examples
from trainer.examples.identity import by_time, edit_key, example_key, luck
from trainer.examples.repository import Repository
from trainer.examples.shapes import Shapes
from trainer.examples.weighting import Weights

HELD_OUT_SHARE = 0.2
MAX_TARGET_TOKENS = 320
"""A middle that some tokenizer cuts into more is left out: it would cost like several and teach one thing."""
_MAX_DRAWS = 24
"""Holes of one shape from one edit, at most."""
Pair = tuple[EditEvent, Example]


@dataclass(frozen=True, slots=True)
class Mix:
    """What a night's examples are made of. Shares are of all examples; the user's shapes are of the user's."""

    max_examples: int = 480
    """At most so many in all; a night has fewer when there is less that is new."""
    replay_share: float = 0.35
    general_share: float = 0.25
    shapes: dict[Kind, float] = field(
        default_factory=lambda: {
            Kind.HUNK: 0.50, Kind.LINE: 0.22, Kind.BLOCK: 0.10, Kind.NODE: 0.09, Kind.RANDOM: 0.04, Kind.EMPTY: 0.05
        }
    )  # fmt: skip
    views: int = 4
    """Different cursors per piece of a hunk."""
    fresh_seconds: float = 72 * 3600.0
    """What was saved within this time before `now` is new; all else is replay. `inf` rebuilds from everything alike."""
    half_life_seconds: float = 14 * 86400.0
    per_file_share: float = 0.05
    """No file gives more than this share of the replay (but always a few)."""


NIGHTLY = Mix()
REBUILD = Mix(max_examples=1600, fresh_seconds=float("inf"), replay_share=0.0, views=2)


def split(
    edits: Iterable[EditEvent], held_out_share: float = HELD_OUT_SHARE
) -> tuple[list[EditEvent], list[EditEvent]]:
    """Edits for training and edits for the gate's pool: the pool has the newest `held_out_share` of all hunks, by time.

    What was saved at one instant (a commit) stays together. Both lists are oldest first; everything in the pool was saved after
    everything in training. With a single instant there is no pool.
    """
    ordered = by_time(edits)
    counts = [len(hunk_examples(edit)) for edit in ordered]
    wanted = held_out_share * sum(counts)
    at, held = len(ordered), 0
    while at > 0 and held < wanted:
        at -= 1
        held += counts[at]
        while at > 0 and ordered[at - 1].saved == ordered[at].saved:
            at -= 1
            held += counts[at]
    return (ordered[:at], ordered[at:]) if at else (ordered, [])


def held_out_examples(pool: Iterable[EditEvent], known: Iterable[EditEvent] = ()) -> list[Example]:
    """The hunks of the pool's edits as questions for the gate, with related pieces; `known` are all edits, for the past."""
    chosen = [(edit, example) for edit in by_time(pool) for example in hunk_examples(edit)]
    return [example for _, example in _with_chunks(chosen, known or (edit for edit, _ in chosen))]


def mixture(
    edits: Iterable[EditEvent],
    fim: FimTokenizer,
    seed: int,
    *,
    now: float | None = None,
    mix: Mix = NIGHTLY,
    outcomes: Iterable[Outcome] = (),
    known: Iterable[EditEvent] = (),
) -> list[Example]:
    """The examples of one night, in the order in which they are to be learnt: deterministic in the seed and the edits' content.

    `edits` are those to learn from (the first part of `split`); `known` may add others that make the past richer, as related
    pieces only. `now` (Unix seconds, default: the newest edit) says what is new. Chunks are those of the time before each edit.
    """
    ordered = by_time(edits)
    if not ordered:
        return []
    latest = ordered[-1].saved if now is None else now
    fresh = [edit for edit in ordered if latest - edit.saved <= mix.fresh_seconds]
    old = [edit for edit in ordered if latest - edit.saved > mix.fresh_seconds]
    user_share = 1.0 - mix.general_share
    most_new = int(mix.max_examples * (user_share - (mix.replay_share if old else 0.0)))
    new = _drawn(fresh, fim, seed, mix, most_new)
    n_replay = int(len(new) * mix.replay_share / (user_share - mix.replay_share)) if old else 0
    cap = max(3, int(mix.per_file_share * n_replay))

    def fading(edit: EditEvent) -> float:
        return float(0.5 ** (max(latest - edit.saved, 0.0) / mix.half_life_seconds))

    replay = _drawn(old, fim, seed, mix, n_replay, weight=fading, cap=cap)
    weights = Weights(outcomes)
    users = [
        replace(example, weight=weights.of(edit, example))
        for edit, example in _with_chunks(new + replay, known or ordered)
    ]
    n_general = round(len(users) * mix.general_share / user_share)
    everything = users + general_examples(n_general, seed)
    return sorted(everything, key=lambda example: luck(seed, "order", example_key(example)))


def _drawn(
    edits: Sequence[EditEvent],
    fim: FimTokenizer,
    seed: int,
    mix: Mix,
    n: int,
    *,
    weight: Callable[[EditEvent], float] = lambda _: 1.0,
    cap: int | None = None,
) -> list[Pair]:
    """At most `n` examples, every shape at its share, by weighted sampling without replacement (Efraimidis and Spirakis 2006).

    Which are tried first is decided before they are made: a long history costs its differences, and no more.
    """
    tickets: defaultdict[Kind, list[tuple[float, Callable[[], Example | None], EditEvent]]] = defaultdict(list)
    for edit in edits:
        key, power, shapes = edit_key(edit), 1.0 / max(weight(edit), 1e-9), Shapes(edit)
        found = hunk_examples(edit, mix.views)
        for one in found:
            place = luck(seed, key, len(one.hole.prefix), one.middle) ** power
            tickets[Kind.HUNK].append((place, partial(_same, one), edit))
        for kind in mix.shapes:
            for number in range(min(len(found), _MAX_DRAWS) if kind is not Kind.HUNK else 0):
                place = luck(seed, key, kind.value, number) ** power
                tickets[kind].append((place, partial(shapes.draw, kind, number, seed), edit))
    total = min(n, round(len(tickets[Kind.HUNK]) / mix.shapes[Kind.HUNK]))
    taken: list[Pair] = []
    of_file: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[EditEvent, Kind, int, str]] = set()
    for kind, share in mix.shapes.items():
        left = max(round(total * share), 1) if total else 0
        for _, make, edit in sorted(tickets[kind], key=lambda ticket: -ticket[0]):
            file = (edit.root, edit.path)
            if left == 0:
                break
            if cap is not None and of_file[file] >= cap:
                continue
            example = make()
            if example is None or len(fim.encode(example.middle)) > MAX_TARGET_TOKENS:
                continue
            if (same := (edit, kind, len(example.hole.prefix), example.middle)) in seen:
                continue
            seen.add(same)
            of_file[file] += 1
            left -= 1
            taken.append((edit, example))
    return taken


def _same(example: Example) -> Example:
    return example


def _with_chunks(chosen: Sequence[Pair], known: Iterable[EditEvent]) -> list[Pair]:
    """The same examples, oldest first, with what the runtime's context would have shown beside them."""
    by_root: defaultdict[str, list[EditEvent]] = defaultdict(list)
    for edit in known:
        by_root[edit.root].append(edit)
    found: list[Pair] = []
    for root in sorted({edit.root for edit, _ in chosen}):
        of_edit: dict[str, tuple[EditEvent, list[Example]]] = {}
        for edit, example in chosen:
            if edit.root == root:
                of_edit.setdefault(edit_key(edit), (edit, []))[1].append(example)
        ordered = by_time(edit for edit, _ in of_edit.values())
        with Repository([*by_root[root], *(edit for edit in ordered if edit not in by_root[root])]) as past:
            for edit in ordered:
                examples = of_edit[edit_key(edit)][1]
                found += [(edit, example) for example in past.with_chunks(edit, examples)]
    return found
