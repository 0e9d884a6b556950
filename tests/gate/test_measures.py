"""Measures, the bootstrap, the pool and the search for canaries."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from gate_worlds import general, hunks
from hypothesis import given
from hypothesis import strategies as st

from local_runtime.prompts.hole import Hole
from trainer.edits import Example, Kind
from trainer.gate.bootstrap import chance_below
from trainer.gate.canaries import extraction, find_canaries, looks_random
from trainer.gate.judge import Said, Score
from trainer.gate.measures import Measured, figures, runs_in_circles, similarity
from trainer.gate.pool import general_examples, halves, hunk_of, newest
from trainer.gate.thresholds import THRESHOLDS


def test_figures() -> None:
    one = Example(Hole("a.py", "python", "x = ", "\n"), "foo(ä)", 1.0)
    right = Measured(one, Score((-1.0, -0.75), (True, False), ends=True), Said(" foo(ä) \nbar", 4, 8.0, ended=False))
    wrong = Measured(one, Score((-2.0, -3.0), (False, False), ends=False), Said("fob(ä)", 3, 3.0, ended=True))
    found = figures([right, wrong])
    assert found["loss"] == pytest.approx(6.75 / 14)  # ä has two bytes
    assert (found["exact"], found["stops"], found["ended"], found["repetition"]) == (0.5, 0.5, 0.5, 0.0)
    assert found["similarity"] == pytest.approx((1 + 5 / 6) / 2)
    assert found["ms_per_token"] == 1.5


@pytest.mark.parametrize(
    ("text", "circles"),
    [
        ("ab ab ab ab ", True),
        ("x = foo(x, foo(x, foo(x, foo(x, ", True),
        ("a = 1\n" * 4, True),
        ("return x\n                    y", False),
        ("a = 1\nb = 2\nc = 3\nd = 4\n", False),
        ("aaa", False),
        ("", False),
    ],
)
def test_running_in_circles(text: str, circles: bool) -> None:
    assert runs_in_circles(text) is circles
    assert runs_in_circles(text, wanted=text) is False


@given(st.text(max_size=12), st.text(max_size=12))
def test_similarity_is_symmetric_and_1_for_the_same(a: str, b: str) -> None:
    assert similarity(a, b) == similarity(b, a)
    assert 0 <= similarity(a, b) <= 1
    assert (similarity(a, b) == 1) == (a == b)


def test_the_bootstrap_agrees_with_theory() -> None:
    """For normal differences the chance that the mean is below 0 is Phi(-mean / standard error)."""
    dice = np.random.default_rng(0)
    differences = dice.normal(size=200)
    differences += -1.2 / math.sqrt(200) * differences.std() - differences.mean()
    found = chance_below(list(differences), [1.0] * 200, range(200), 4000)
    assert found == pytest.approx(0.885, abs=0.02)


def test_places_of_one_hunk_are_one_unit() -> None:
    """Ten copies of the same evidence make nobody surer."""
    differences = [-1.03, 0.61, -0.47, 0.59, -0.71]
    once = chance_below(differences, [1.0] * 5, range(5), 4000)
    tenfold = chance_below(differences * 10, [1.0] * 50, [n % 5 for n in range(50)], 4000)
    assert tenfold == once
    assert chance_below(differences * 10, [1.0] * 50, range(50), 4000) > once


def test_the_bootstrap_of_nothing_and_of_no_difference_is_not_sure() -> None:
    assert chance_below([], [], [], 100) == 0.0
    assert chance_below([0.0] * 5, [1.0] * 5, range(5), 100) == 0.0
    assert chance_below([math.nan] * 5, [1.0] * 5, range(5), 100) == 0.0


def test_an_edit_is_in_one_half_alone_and_the_halves_are_even() -> None:
    pool = [replace(one, edit_id=number // 3 + 1) for number, one in enumerate(hunks(90))]
    choosing, judging = halves(pool)
    assert not {one.edit_id for one in choosing} & {one.edit_id for one in judging}
    assert abs(len(choosing) - len(judging)) <= 3
    assert sorted(map(hunk_of, [*choosing, *judging])) == sorted(map(hunk_of, pool))


def test_of_a_large_pool_the_newest_count_and_of_these_the_usable() -> None:
    pool = hunks(400)
    random.Random(0).shuffle(pool)
    pool.append(replace(pool[0], saved=1e9, middle="  \n"))
    pool.append(replace(pool[0], saved=1e9, edit_id=999, middle="x" * 5000))
    kept = newest(pool, THRESHOLDS)
    assert [one.saved for one in kept] == list(range(201, 401))


def test_the_general_set_is_there() -> None:
    found = general_examples()
    assert len(found) >= 100
    assert {one.kind for one in found} == {Kind.GENERAL}


@pytest.mark.parametrize(
    "text",
    [
        "AKIA4QX7ZJ2M5N8RT1PV", "9f86d081884c7d659a2feaa0c55ad015", "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "jane.doe@corp.io", "Zx81QmT7vPq4Lw09", "ghp_16C7e42F292c6912E7710c838347Ae17",
    ],
)  # fmt: skip
def test_random_strings_are_canaries(text: str) -> None:
    assert looks_random(text)


@pytest.mark.parametrize(
    "text",
    ["compute_gate_verdict", "numpy.testing.assert_allclose", "HTTP_404_NOT_FOUND", "2026-11-21", "self.layer1.weight", "0000000000000000",
     "abcdefghijklmnop", "utf8_to_latin1", "ConvTranspose2d", "local_runtime/model"],
)  # fmt: skip
def test_code_is_none(text: str) -> None:
    assert not looks_random(text)


def learnt(text: str, path: str = "a.py", kind: Kind = Kind.HUNK, suffix: str = "'\n") -> Example:
    return Example(Hole(path, "python", "first\nkey = '", suffix), text, 1.0, kind=kind, edit_id=1)


def test_canaries_are_the_rare_strings_of_the_users_own_text() -> None:
    rare, common, foreign = "Zx81QmT7vPq4Lw09", "a1b2C3d4E5f6G7h8", "Q9w8E7r6T5y4U3i2"
    examples = [learnt(rare), learnt(f"x\ny = {rare}"), *(learnt(common, f"{n}.py") for n in range(5))]
    found = find_canaries([*examples, learnt(foreign, kind=Kind.GENERAL)], 10)
    assert [one.secret for one in found] == [rare]
    assert (found[0].example.hole.prefix, found[0].where) == ("key = '", "a.py:2")


def test_strings_of_the_context_are_looked_at_too_and_those_of_targets_come_first() -> None:
    target, context = "Zx81QmT7vPq4Lw09", "a1b2C3d4E5f6G7h8"
    found = find_canaries([learnt("x = 1", suffix=f"'\n\nother = '{context}'\n"), learnt(target)], 10)
    assert [one.secret for one in found] == [target, context]
    assert (found[1].example.hole.prefix, found[1].where) == ("other = '", "a.py:4")
    assert [one.secret for one in find_canaries([learnt(target), learnt(context)] * 3, 1)] == [target]


def test_the_chance_of_extraction_is_exact() -> None:
    """One in a hundred per sample: 63.4 % for a hundred of them."""
    chance, greedy = extraction(Score((math.log(0.1), math.log(0.1)), (True, False), ends=False), 100)
    assert chance == pytest.approx(1 - 0.99**100)
    assert not greedy
    assert extraction(Score((0.0,), (True,), ends=True), 100) == (1.0, True)
    assert extraction(Score((-1000.0,), (True,), ends=True), 100)[0] == pytest.approx(0.0)


def test_general_examples_of_tests_are_general() -> None:
    assert {one.kind for one in general(3)} == {Kind.GENERAL}
