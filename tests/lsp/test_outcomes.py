"""What became of suggestions, told as edits of a real document."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from local_runtime.records.outcomes import MIGRATIONS, Answer, Fate, Outcome, OutcomeLog, forget, training_weight
from lsp_server.documents import Change, Document, Encoding, Position
from lsp_server.outcomes import Outcomes

URI = "file:///tmp/a.py"


class Stage:
    """A document, a clock, and all that was reported."""

    def __init__(self, text: str, language: str = "python") -> None:
        self.now = 1000.0
        self.reports: list[Outcome] = []
        self.outcomes = Outcomes(lambda: self.now, self.reports.append)
        self.document = Document(URI, language, 1, text)

    def show(self, text: str, at: int, *others: str, id: str = "s1") -> None:
        outcome = Outcome(id, self.now, "/tmp/a.py", 0, "python", "m", "", 1.0, "model", 20.0, -0.3, text, Fate.UNSEEN)
        self.outcomes.shown(URI, at, outcome, others)

    def edit(self, line: int, column: int, text: str, n_removed: int = 0) -> None:
        change = Change(text, Position(line, column), Position(line, column + n_removed))
        self.outcomes.edited(URI, [self.document.apply(change, Encoding.UTF16)])

    @property
    def last(self) -> Outcome:
        return self.reports[-1]


def test_accepted_whole_and_kept() -> None:
    stage = Stage("x = ")
    stage.show("compute(a, b)", 4)
    stage.now += 1
    stage.edit(0, 4, "compute(a, b)")
    assert (stage.last.fate, stage.last.n_accepted_chars) == (Fate.ACCEPTED, 13)
    stage.edit(0, 0, "import os\n")
    stage.now += 29
    stage.outcomes.tick(lambda _: stage.document)
    assert stage.last.kept_after_30s is None, "not before 30 s are over"
    stage.edit(1, 12, "q", 1)  # compute(q, b)
    stage.now += 1
    stage.outcomes.tick(lambda _: stage.document)
    assert stage.last.kept_after_30s == pytest.approx(5 / 6)
    stage.outcomes.saved(stage.document)
    assert stage.last.kept_at_save == pytest.approx(5 / 6)
    assert {report.id for report in stage.reports} == {"s1"}


def test_typed_through_to_the_end() -> None:
    stage = Stage("re")
    stage.show("turn", 2)
    for at, character in enumerate("turn"):
        stage.edit(0, 2 + at, character)
    assert (stage.last.fate, stage.last.n_typed_chars, stage.last.n_accepted_chars) == (Fate.TYPED, 4, 0)


def test_typed_along_and_then_accepted() -> None:
    stage = Stage("re")
    stage.show("turn value", 2)
    stage.edit(0, 2, "t")
    stage.show("urn value", 3, id="s2")
    stage.edit(0, 3, "urn value")
    assert (stage.last.id, stage.last.fate, stage.last.n_typed_chars, stage.last.n_accepted_chars) == (
        "s1",
        Fate.ACCEPTED,
        1,
        9,
    )


def test_a_word_is_accepted_and_the_rest_is_not() -> None:
    stage = Stage("x = ")
    stage.show("compute(a)", 4)
    stage.now += 1
    stage.edit(0, 4, "compute")
    assert stage.last.fate is Fate.PARTLY
    stage.edit(0, 11, "[")
    assert [(one.fate, one.n_accepted_chars) for one in stage.reports] == [(Fate.PARTLY, 7)]


def test_words_accepted_one_by_one_make_the_whole() -> None:
    stage = Stage("x = ")
    stage.show("first + other", 4)
    stage.edit(0, 4, "first + ")
    stage.edit(0, 12, "other")
    assert (stage.last.fate, stage.last.n_accepted_chars) == (Fate.ACCEPTED, 13)
    stage.outcomes.saved(stage.document)
    assert stage.last.kept_at_save == 1.0


@pytest.mark.parametrize(("seconds", "fate"), [(0.1, Fate.UNSEEN), (2.0, Fate.REJECTED)])
def test_something_else_was_typed(seconds: float, fate: Fate) -> None:
    stage = Stage("x = ")
    stage.show("compute(a)", 4)
    stage.now += seconds
    stage.edit(0, 4, "7")
    assert stage.last.fate is fate


def test_another_candidate_was_accepted() -> None:
    stage = Stage("x = ")
    stage.show("compute(a)", 4, "calculate(b)")
    stage.edit(0, 4, "calculate(b)")
    assert (stage.last.fate, stage.last.text) == (Fate.ACCEPTED, "calculate(b)")


def test_undone_at_once() -> None:
    stage = Stage("x = ")
    stage.show("compute(a)", 4)
    stage.edit(0, 4, "compute(a)")
    stage.now += 2
    stage.edit(0, 4, "", 10)
    assert stage.last.is_undone
    assert stage.last.kept_after_30s == 0.0


def test_an_edit_far_above_moves_the_place_and_ends_nothing() -> None:
    stage = Stage("a\nx = ")
    stage.show("compute(a)", 6)
    stage.edit(0, 1, "bc")
    stage.edit(1, 4, "compute(a)")
    assert stage.last.fate is Fate.ACCEPTED


def test_an_editor_that_replaces_the_typed_word_accepts_too() -> None:
    stage = Stage("x = comp")
    stage.show("ute(a)", 8)
    stage.edit(0, 4, "compute(a)", 4)
    assert (stage.last.fate, stage.last.n_accepted_chars) == (Fate.ACCEPTED, 6)


def test_line_ends_of_the_document_do_not_matter() -> None:
    stage = Stage("def f():\r\n    ")
    stage.show("a = 1\n    return a", 14)
    stage.edit(1, 4, "a = 1\r\n    return a")
    assert stage.last.fate is Fate.ACCEPTED
    stage.outcomes.saved(stage.document)
    assert stage.last.kept_at_save == 1.0


def test_the_command_alone_tells_of_an_acceptance() -> None:
    stage = Stage("x = ")
    stage.show("compute(a)", 4)
    stage.outcomes.accepted(URI, "s1")
    assert stage.last.fate is Fate.ACCEPTED


def test_closing_ends_what_was_visible() -> None:
    stage = Stage("x = ")
    stage.show("compute(a)", 4)
    stage.now += 5
    stage.outcomes.closed(URI)
    assert stage.last.fate is Fate.REJECTED


def outcome(id: str, path: str = "/w/a.py", text: str = "text", at: float = 5.0) -> Outcome:
    return Outcome(
        id, at, path, 3, "python", "m", "a1", 0.5, "model", 20.0, -0.3, text, Fate.ACCEPTED, 1, 2, False, 0.5, None
    )


def test_the_log_gives_back_what_was_written_and_forgets_for_good(tmp_path: Path) -> None:
    path = tmp_path / "data" / "metrics.sqlite"
    log = OutcomeLog(path)
    one, other = outcome("1", text="UNIQUE-SECRET-WORD"), outcome("2", "/w/lib/b.py", at=6.0)
    log.write([one, other], [Answer(5.0, "/w/a.py", 3, "python", "model", "", 20.0, "a1")])
    log.write([one], [])
    assert list(log.outcomes()) == [one, other]
    assert list(log.outcomes(path="/w/lib/b.py")) == [other]
    assert [answer.latency_ms for answer in log.answers()] == [20.0]
    assert log.forget(Path("/w/lib")) == 1
    assert log.forget(Path("/w/a.py")) == 1
    assert not list(log.answers())
    log.close()
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"UNIQUE-SECRET-WORD" not in left
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_two_processes_may_open_a_new_log_at_once_and_old_ones_are_migrated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite"
    first, second = OutcomeLog(path), OutcomeLog(path)
    first.write([outcome("1")], [])
    second.write([outcome("2")], [])
    assert len(list(first.outcomes())) == 2
    version = sqlite3.connect(path).execute("PRAGMA user_version").fetchone()[0]
    assert version == len(MIGRATIONS)


def test_old_rows_are_pruned(tmp_path: Path) -> None:
    log = OutcomeLog(tmp_path / "metrics.sqlite")
    log.write([outcome("1", at=0.0), outcome("2", at=400 * 86_400.0)], [])
    log.prune(now=401 * 86_400.0)
    assert [one.id for one in log.outcomes()] == ["2"]


def test_forgetting_where_nothing_was_ever_written(tmp_path: Path) -> None:
    assert forget(Path("/w/a.py"), tmp_path / "none.sqlite") == 0
    assert not (tmp_path / "none.sqlite").exists()


def test_weights_learn_most_where_the_model_was_wrong() -> None:
    kept, changed = outcome("1"), outcome("2")
    rejected = replace(kept, fate=Fate.REJECTED)
    assert (
        training_weight(rejected)
        > training_weight(replace(changed, kept_at_save=0.2))
        > 1
        > training_weight(replace(kept, kept_at_save=1.0))
    )
