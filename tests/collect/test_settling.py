"""When an edit is finished, with a clock of the test's own."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from trainer.collect.settling import Settling

KNOWN = "\n".join(f"line {n}" for n in range(20))
LINES = KNOWN.split("\n")


def _with(changes: dict[int, str]) -> str:
    return "\n".join(changes.get(n, line) for n, line in enumerate(LINES))


def test_an_edit_settles_when_its_region_has_been_quiet() -> None:
    settling = Settling(10.0)
    settling.saved("a", KNOWN, _with({3: "x"}), 100.0)
    assert settling.due(109.9) == []
    assert settling.next_due() == 110.0
    assert settling.due(110.0) == ["a"]
    assert settling.settled("a", KNOWN, 110.0) == _with({3: "x"})
    assert settling.all() == [] and settling.next_due() == inf


def test_a_region_that_is_worked_on_waits_alone() -> None:
    settling = Settling(10.0)
    settling.saved("a", KNOWN, _with({3: "x"}), 100.0)
    settling.saved("a", KNOWN, _with({3: "x", 15: "y"}), 108.0)
    first = settling.settled("a", KNOWN, 111.0)
    assert first == _with({3: "x"})
    settling.saved("a", first, _with({3: "x", 15: "yy"}), 112.0)
    assert settling.settled("a", first, 119.0) == first, "it was changed again"
    assert settling.settled("a", first, 122.0) == _with({3: "x", 15: "yy"})


def test_a_deletion_settles_too() -> None:
    settling = Settling(10.0)
    shorter = "\n".join(LINES[:5] + LINES[8:])
    settling.saved("a", KNOWN, shorter, 100.0)
    assert settling.settled("a", KNOWN, 105.0) == KNOWN
    assert settling.settled("a", KNOWN, 110.0) == shorter


def test_a_deletion_at_the_end_settles_too() -> None:
    settling = Settling(10.0)
    shorter = "\n".join(LINES[:-3])
    settling.saved("a", KNOWN, shorter, 100.0)
    assert settling.due(105.0) == []
    assert settling.settled("a", KNOWN, 110.0) == shorter


def test_a_renamed_file_goes_on_waiting_and_a_dropped_one_does_not() -> None:
    settling = Settling(10.0)
    settling.saved("a", KNOWN, "x", 100.0)
    settling.rename("a", "b")
    assert settling.all() == ["b"]
    settling.drop("b")
    assert settling.next_due() == inf


TEXTS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=8).map("\n".join)


@given(TEXTS, st.lists(st.tuples(TEXTS, st.floats(0.1, 30.0)), min_size=1, max_size=6))
def test_in_the_end_everything_has_settled(known: str, saves: list[tuple[str, float]]) -> None:
    settling, now = Settling(10.0), 0.0
    for text, pause in saves:
        now += pause
        settling.saved("a", known, text, now)
        for path in settling.due(now):
            known = settling.settled(path, known, now)
    while settling.all():
        now = max(now, settling.next_due()) + 10.0
        known = settling.settled("a", known, now)
    assert known == saves[-1][0]
