"""A night's examples: by time, without look-ahead, and untouched by what was forgotten."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from shop_history import BEGAN, DAY, ROOT, days, edit

from local_runtime.errors import ModelInvalid
from local_runtime.general_set import general_holes
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.records.outcomes import Fate, Outcome
from trainer.edits import Example, Kind
from trainer.examples.dataset import Mix, held_out_examples, mixture, split
from trainer.examples.general import general_examples
from trainer.examples.hunks import hunk_examples
from trainer.examples.identity import corpus_hash, example_key
from trainer.examples.repository import Repository
from trainer.examples.store import read_examples, write_examples
from trainer.examples.weighting import Weights

SMALL = Mix(max_examples=60)


def nameless(examples: list[Example]) -> list[Example]:
    """Without the journal's row numbers."""
    return [replace(example, edit_id=0) for example in examples]


def test_the_newest_fifth_is_held_out() -> None:
    train, pool = split(days(), 0.2)
    assert max(one.saved for one in train) < min(one.saved for one in pool)
    n_pool = sum(len(hunk_examples(one)) for one in pool)
    n_all = n_pool + sum(len(hunk_examples(one)) for one in train)
    assert n_pool >= 0.2 * n_all
    assert n_pool - len(hunk_examples(pool[0])) < 0.2 * n_all


def test_a_commit_is_not_cut_in_two() -> None:
    at_once = [replace(one, saved=BEGAN + (n >= 3) * DAY) for n, one in enumerate(days())]
    train, pool = split(at_once, 0.2)
    assert len(train) == 3
    assert len(pool) == 5
    assert split(at_once[3:], 0.2)[1] == []


def test_a_night_is_deterministic_whatever_the_journals_order(fim: FimTokenizer) -> None:
    shuffled = [replace(one, id=one.id + 900) for one in days()]
    random.Random(5).shuffle(shuffled)
    first, second = mixture(days(), fim, 1, mix=SMALL), mixture(shuffled, fim, 1, mix=SMALL)
    assert nameless(first) == nameless(second)
    assert corpus_hash(first) == corpus_hash(second)
    assert corpus_hash(mixture(days(), fim, 2, mix=SMALL)) != corpus_hash(first)


def test_what_was_forgotten_leaves_no_trace(fim: FimTokenizer) -> None:
    """A journal that saw a secret project for a while, and one that never did: rows differ, examples do not."""
    stranger = [
        edit("secret/plan.py", "", f"def plan_{n}(cart):\n    return cart.total() * {n}\n", n, 50 + n) for n in range(5)
    ]
    with_it = sorted(days() + stranger, key=lambda one: one.saved)
    numbered = [replace(one, id=n) for n, one in enumerate(with_it)]
    assert any("plan" in e.hole.path for e in mixture(numbered, fim, 1, mix=SMALL)), "the stranger would be seen"
    left = [one for one in numbered if "/secret/" not in one.path]
    assert nameless(mixture(left, fim, 1, mix=SMALL)) == nameless(mixture(days(), fim, 1, mix=SMALL))


def test_no_example_knows_the_future(fim: FimTokenizer) -> None:
    """Related pieces are of the time before the edit: what was written later is in none of them."""
    written = {"discounted": 6, "def remove": 5, "def add": 2, "DEFAULT_PRICE": 3}
    n_related = 0
    for example in mixture(days(), fim, 1, mix=replace(SMALL, general_share=0.0)):
        day = (example.saved - BEGAN) / DAY
        shown = "".join(chunk.text for chunk in example.chunks)
        n_related += bool(shown)
        for word, first_day in written.items():
            assert word not in shown or first_day < day, (word, day)
    assert n_related > 5


def test_the_past_is_what_edits_say() -> None:
    with Repository(days()) as past:
        assert past.text("shop/cart.py", BEGAN + 0.5 * DAY) == ""
        assert "def add" not in past.text("shop/cart.py", BEGAN + 1.5 * DAY)
        assert "def add" in past.text("shop/cart.py", BEGAN + 2.5 * DAY)
        scratch = Path(past._scratch.name)
        assert scratch.stat().st_mode & 0o077 == 0
    assert not scratch.exists()


def test_going_back_in_time_undoes(fim: FimTokenizer) -> None:
    """Asked in any order, the same place gets the same pieces."""
    events = days()
    asked = {n: hunk_examples(events[n]) for n in (1, 2, 5, 6)}
    with Repository(events) as forward, Repository(events) as backward:
        there = {n: forward.with_chunks(events[n], asked[n]) for n in (1, 2, 5, 6)}
        back = {n: backward.with_chunks(events[n], asked[n]) for n in (6, 5, 2, 1)}
    assert there == back
    assert any(example.chunks for examples in there.values() for example in examples)


def test_a_path_that_leaves_the_root_is_written_nowhere(tmp_path: Path) -> None:
    hostile = replace(edit("x.py", "", "a = 1\n"), path=f"{ROOT}/../../{tmp_path.name}/x.py")
    with Repository([hostile, *days()]) as past:
        past.with_chunks(days()[-1], hunk_examples(days()[-1]))
        assert not list(Path(past._scratch.name).rglob("x.py"))


def test_old_edits_come_back_less_and_less(fim: FimTokenizer) -> None:
    """Ten new days among two hundred old ones: replay has its share, and mostly of what is not long ago."""
    long_ago = [
        edit(f"shop/old{n % 40}.py", f"kept_{n} = 0\n", f"kept_{n} = 0\nvalue_{n} = make({n}, 'x')\n", -n)
        for n in range(4, 204)
    ]
    new = [edit(f"shop/new{n}.py", "", f"fresh_{n} = build({n})\nother_{n} = send({n})\n", 0) for n in range(12)]
    mix = Mix(max_examples=120, half_life_seconds=14 * DAY)
    found = mixture(long_ago + new, fim, 1, mix=mix)
    ages = [(BEGAN - one.saved) / DAY for one in found if one.kind is not Kind.GENERAL]
    old = [age for age in ages if age > 3]
    general = [one for one in found if one.kind is Kind.GENERAL]
    assert 0.25 <= len(old) / len(found) <= 0.45
    assert 0.20 <= len(general) / len(found) <= 0.30
    assert sum(age < 40 for age in old) > sum(age > 120 for age in old)
    paths = [one.hole.path for one in found if (BEGAN - one.saved) / DAY > 3 and one.kind is not Kind.GENERAL]
    assert max(map(paths.count, paths)) <= 3


def test_shapes_have_their_shares(fim: FimTokenizer) -> None:
    found = [one.kind for one in mixture(days(), fim, 1, mix=Mix(max_examples=200, fresh_seconds=float("inf")))]
    users = [kind for kind in found if kind is not Kind.GENERAL]
    assert users.count(Kind.HUNK) >= 0.35 * len(users)
    assert {Kind.LINE, Kind.BLOCK, Kind.NODE, Kind.EMPTY} <= set(users)


def test_a_night_is_bounded(fim: FimTokenizer) -> None:
    assert len(mixture(days(), fim, 1, mix=Mix(max_examples=20))) <= 20 + 8
    assert mixture([], fim, 1) == []


def test_what_became_of_suggestions_counts(fim: FimTokenizer) -> None:
    event = days()[2]
    example = hunk_examples(event)[0]
    line = example.hole.prefix.count("\n")

    def outcome(fate: Fate, at: float, line: int) -> Outcome:
        return Outcome(
            "i", at, event.path, line, "python", "m", "", 1.0, "model", 1.0, -1.0, "x", fate, kept_at_save=1.0
        )

    def weight(*outcomes: Outcome) -> float:
        return Weights(outcomes).of(event, example)

    assert weight() == 1.0
    assert weight(outcome(Fate.REJECTED, event.saved - 60, line)) == 1.5
    assert weight(outcome(Fate.ACCEPTED, event.saved - 60, line + 1)) == 0.5
    assert weight(outcome(Fate.REJECTED, event.saved + 60, line)) == 1.0, "shown after the edit"
    assert weight(outcome(Fate.REJECTED, event.saved - 60, line + 40)) == 1.0, "somewhere else"


def test_the_general_replay_is_not_the_general_set() -> None:
    """The gate judges on text that no training has seen."""
    judged = {(one.hole.path, one.middle) for one in general_holes() if one.middle}
    replayed = general_examples(200, seed=3)
    assert len(replayed) == 200
    assert not judged & {(one.hole.path, one.middle) for one in replayed}
    packages = {one.package for one in general_holes()}
    assert not any(one.hole.path.split("/")[0] in packages for one in replayed)
    assert general_examples(10, seed=3) == replayed[:10]


def test_held_out_examples_come_with_their_context() -> None:
    train, pool = split(days())
    found = held_out_examples(pool, [*train, *pool])
    assert [one.saved for one in found] == sorted(one.saved for one in found)
    assert {one.kind for one in found} == {Kind.HUNK}
    assert any(one.chunks for one in found)


def test_examples_survive_a_file(tmp_path: Path, fim: FimTokenizer) -> None:
    found = mixture(days(), fim, 1, mix=SMALL)
    file = tmp_path / "examples.jsonl"
    write_examples(file, found)
    assert read_examples(file) == found
    assert list(map(example_key, read_examples(file))) == list(map(example_key, found))
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ModelInvalid, match=r"examples\.jsonl"):
        read_examples(file)
