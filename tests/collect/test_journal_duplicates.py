"""What was left out because of something that is then forgotten comes back, and nothing else does: as if it had never been."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer.collect.journal import Journal
from trainer.collect.migrations import MIGRATIONS, migrate
from trainer.collect.refusals import Refusal
from trainer.edits import EditEvent, Origin

ROOT = "/work/project"
FORGOTTEN = f"{ROOT}/old.py"


def body(first: int, n_lines: int = 40) -> str:
    """Lines of an endless file from `first` on: neighbours are nearly the same, those further away are not."""
    return "".join(f"def step_{n}(value):\n    return value * {n * n}\n\n" for n in range(first, first + n_lines))


def edit(name: str, text: str, saved: float) -> EditEvent:
    return EditEvent(f"{ROOT}/{name}", ROOT, "python", "start = 1\n", "start = 1\n" + text, saved, Origin.COMMIT)


def story(seed: int) -> list[EditEvent]:
    """Different edits of six files, many of them like others."""
    dice = random.Random(seed)
    names = ["old.py", "a.py", "b.py", "c.py", "d.py", "e.py"]
    events = [edit(dice.choice(names), body(2 * dice.randrange(12)), float(n)) for n in range(24)]
    return list({(one.path, one.after): one for one in events}.values())


def learnt(journal: Journal) -> list[tuple[str, str, float]]:
    return [(one.path, one.after, one.saved) for one in journal.edits()]


def refused(journal: Journal) -> set[tuple[str, Refusal, int]]:
    return {(one.path, one.reason, one.n) for one in journal.refusals()}


def never_seen(path: Path, events: Sequence[EditEvent]) -> Journal:
    """A journal of the same edits without those of the forgotten file."""
    journal = Journal(path / "never" / "journal.sqlite")
    journal.add([one for one in events if one.path != FORGOTTEN])
    return journal


def test_a_copy_is_learnt_from_when_what_it_copied_is_forgotten(journal: Journal) -> None:
    journal.add([edit("old.py", body(0), 1.0), edit("new.py", body(0), 2.0), edit("like.py", body(1), 3.0)])
    assert [path for path, _, _ in learnt(journal)] == [FORGOTTEN]
    assert journal.forget(FORGOTTEN) == 1
    assert learnt(journal) == [(f"{ROOT}/new.py", "start = 1\n" + body(0), 2.0)]
    assert refused(journal) == {(f"{ROOT}/like.py", Refusal.NEAR_DUPLICATE, 1)}
    assert journal.forget(f"{ROOT}/new.py") == 1
    assert [path for path, _, _ in learnt(journal)] == [f"{ROOT}/like.py"]
    assert refused(journal) == set()
    assert journal.amount(ROOT) == (1, 1, 3.0)


@pytest.mark.parametrize("seed", range(12))
def test_forgetting_equals_never_having_seen(journal: Journal, tmp_path: Path, seed: int) -> None:
    """Chains of likenesses: what comes back may put out what was only learnt from in its absence."""
    events = story(seed)
    journal.add(events)
    expected = never_seen(tmp_path, events)
    journal.forget(FORGOTTEN)
    assert learnt(journal) == learnt(expected)
    assert refused(journal) == refused(expected)
    late = edit("late.py", body(7), 99.0)
    assert bool(journal.add([late])) == bool(expected.add([late])), "what is compared with is the same, too"
    expected.close()


def test_chains_are_there_to_be_tested(tmp_path: Path) -> None:
    """Somewhere among those seeds something that was learnt from is put out by what comes back."""
    put_out = 0
    for seed in range(12):
        events = story(seed)
        with_it = Journal(tmp_path / str(seed) / "journal.sqlite")
        with_it.add(events)
        without = never_seen(tmp_path / str(seed), events)
        mine = {one for one in learnt(with_it) if one[0] != FORGOTTEN}
        put_out += len(mine - set(learnt(without)))
        with_it.close()
        without.close()
    assert put_out


def test_a_history_that_is_read_twice_is_kept_once(journal: Journal) -> None:
    events = [edit("old.py", body(0), 1.0), edit("new.py", body(0), 2.0)]
    for _ in range(3):
        journal.add(events)
    assert journal._connection.execute("SELECT count(*) FROM edits").fetchone() == (2,)
    assert refused(journal) >= {(f"{ROOT}/new.py", Refusal.EXACT_DUPLICATE, 3)}


def test_no_byte_of_a_forgotten_copy_is_left(journal: Journal) -> None:
    """Also of an edit that was never learnt from."""
    journal.add([edit("new.py", body(0), 1.0), edit("old.py", body(1), 2.0)])
    assert journal.forget(FORGOTTEN) == 0
    assert journal._connection.execute("SELECT count(*) FROM edits").fetchone() == (1,)
    assert journal._connection.execute("SELECT count(*) FROM texts").fetchone() == (2,)
    assert b"old.py" not in b"".join(path.read_bytes() for path in journal.path.parent.iterdir())


def test_a_journal_of_the_first_schema_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, MIGRATIONS[:1])
    connection.execute("INSERT INTO texts VALUES (1, x'00', x'00', 1)")
    connection.execute(
        "INSERT INTO edits (path, root, language, before, after, saved, origin, added_sha256)"
        " VALUES ('/a.py', '/', 'python', 1, 1, 5.0, 'save', x'00')"
    )
    connection.close()
    journal = Journal(path)
    assert journal.count() == 1
    journal.close()
