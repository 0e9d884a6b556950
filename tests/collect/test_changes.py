"""Runs of lines cover both texts, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.collect.changes import added_lines, lines_of, pieces, runs

TEXTS = st.lists(st.sampled_from(["a", "b", "", "  c", "def f():", "\x0c", "x\r"]), max_size=12).map("\n".join)


@given(TEXTS, TEXTS)
def test_runs_rebuild_both_texts(before: str, after: str) -> None:
    old, new = lines_of(before), lines_of(after)
    every = [piece for run in runs(old, new) for piece in pieces(run, new)]
    assert "\n".join(line for run in every for line in new[run.j1 : run.j2]) == after
    for run in every:
        assert not run.equal or old[run.i1 : run.i2] == new[run.j1 : run.j2]
    ends = [(0, 0), *((run.i2, run.j2) for run in every)]
    assert [(run.i1, run.j1) for run in every] == ends[:-1], "runs follow each other without gaps"
    assert ends[-1] == (len(old), len(new))


def test_a_long_change_is_one_run_and_takes_no_time() -> None:
    old, new = [f"a{n}" for n in range(9000)], [f"b{n}" for n in range(9000)]
    assert [run.equal for run in runs(["same", *old], ["same", *new])] == [True, False]


def test_an_insertion_falls_into_paragraphs() -> None:
    assert added_lines("a\nz\n", "a\nb\n\nc\nd\nz\n") == ["b", "", "c", "d"]
    new = lines_of("a\nb\n\nc\nd\nz\n")
    (insertion,) = [run for run in runs(lines_of("a\nz\n"), new) if not run.equal]
    assert [new[run.j1 : run.j2] for run in pieces(insertion, new)] == [["b", ""], ["c", "d"]]
