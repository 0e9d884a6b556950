"""What became of suggestions is a bonus to the trainer: without it, or with a damaged file of it, everything else goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from night_worlds import AWAY, NOUNS, VERBS, finished, learn_from

from local_runtime.places import folder
from local_runtime.records.outcomes import OutcomeLog, database, forget, read_outcomes
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions

GARBAGE = b"this is no database at all, and it says src/secret.py " * 100


@pytest.fixture
def damaged(home: Path) -> Path:
    """The statistics of this user, of which nothing can be read."""
    folder(database().parent)
    database().write_bytes(GARBAGE)
    return database()


def test_what_cannot_be_read_is_nothing_and_is_told(damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_outcomes(damaged) == []
    assert "what became of suggestions is left out" in caplog.text
    assert damaged.read_bytes() == GARBAGE


def test_what_cannot_be_searched_is_forgotten_as_a_whole(damaged: Path) -> None:
    assert forget(Path("/w/src/secret.py"), damaged) == 0
    assert not damaged.exists()


def test_statistics_in_use_are_not_thrown_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_runtime.records.outcomes.BUSY_SECONDS", 0.05)
    folder(database().parent)
    with closing(OutcomeLog(database())), closing(sqlite3.connect(database(), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            forget(Path("/w/src/secret.py"), database())
    assert database().exists()


@pytest.mark.e2e
def test_a_night_goes_on_without_them(world: Path, damaged: Path, tmp_path: Path) -> None:
    learn_from(tmp_path / "shop", NOUNS[:3], VERBS[:3])
    record, _ = finished(Night(LearnOptions(threads=1), lambda: AWAY, max_steps=2).events())
    assert not record.failed
    assert record.verdict is not None
