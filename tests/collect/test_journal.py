"""The journal keeps edits, forgets without a trace, and survives a damaged file, a full disk and a clock set back."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from local_runtime.errors import NotReady
from trainer.collect.journal import Journal, JournalUnwritable
from trainer.collect.journal_files import SeenFile
from trainer.collect.journal_texts import Limits
from trainer.collect.migrations import MIGRATIONS, migrate
from trainer.collect.refusals import Refusal, Refused
from trainer.edits import EditEvent, Origin

ROOT = "/work/project"


def _edit(n: int, name: str = "a.py", text: str | None = None, saved: float | None = None) -> EditEvent:
    before = f"start = {n}\n"
    text = f"value_{n} = {n}\n" if text is None else text
    return EditEvent(f"{ROOT}/{name}", ROOT, "python", before, before + text, float(n) if saved is None else saved)


def _seen(name: str, text: str) -> SeenFile:
    return SeenFile(f"{ROOT}/{name}", ROOT, text, b"\1" * 32, 1, len(text))


def _body(seed: int, n_lines: int = 40) -> str:
    return "".join(
        f"def function_{seed}_{n}(argument_{n}):\n    return argument_{n} * {n + seed}\n\n" for n in range(n_lines)
    )


def _raw(journal: Journal) -> bytes:
    """All bytes of all files of the journal."""
    return b"".join(path.read_bytes() for path in sorted(journal.path.parent.iterdir()))


def test_edits_come_back_oldest_first(journal: Journal) -> None:
    stored = journal.add([_edit(3), _edit(4), _edit(5, "b.py")])
    assert [one.id for one in stored] == [1, 2, 3]
    assert list(journal.edits()) == stored
    assert [one.saved for one in journal.edits(since=4.0, until=5.0)] == [4.0]
    assert list(journal.edits(root="/other")) == []
    assert (journal.count(), journal.count(since=4.0), journal.count(root="/other")) == (3, 2, 0)


def test_a_long_stream_is_stored_and_counted(journal: Journal) -> None:
    assert journal.store(_edit(n, f"f{n}.py") for n in [*range(250), 3]) == 250
    assert journal.count() == 250


def test_commits_are_sorted_in_by_their_time(journal: Journal) -> None:
    commit = EditEvent(f"{ROOT}/c.py", ROOT, "python", "", "old = 1\n", 1.0, Origin.COMMIT)
    journal.add([_edit(3), commit])
    assert [one.origin for one in journal.edits()] == [Origin.COMMIT, Origin.SAVE]


def test_a_clock_set_back_does_not_reorder_saves(journal: Journal) -> None:
    first, second = journal.add([_edit(1, saved=1000.0), _edit(2, saved=10.0)])
    assert list(journal.edits()) == [first, second]
    assert second.saved == 1000.0


def test_it_is_the_users_alone(journal: Journal) -> None:
    journal.add([_edit(1)])
    for path in journal.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_duplicates_are_left_out_and_counted(journal: Journal) -> None:
    body = _body(1)
    assert len(journal.add([_edit(1, text=body)])) == 1
    assert journal.add([_edit(2, "b.py", text=body.replace("\n", "\r\n"))]) == []
    assert journal.add([_edit(3, "c.py", text=body.replace("function_1_7", "renamed"))]) == []
    assert len(journal.add([_edit(4, "d.py", text=_body(2))])) == 1
    assert {one.path[-4:]: one.reason for one in journal.refusals()} == {
        "b.py": Refusal.EXACT_DUPLICATE,
        "c.py": Refusal.NEAR_DUPLICATE,
    }


def test_a_short_text_is_a_duplicate_in_its_own_file_alone(journal: Journal) -> None:
    assert len(journal.add([_edit(1, "a.py", "import os\n"), _edit(2, "b.py", "import os\n")])) == 2
    assert journal.add([_edit(3, "a.py", "import os\n")]) == []


def test_refusals_are_counted_without_text(journal: Journal) -> None:
    one = Refused(f"{ROOT}/a.py", ROOT, Refusal.SECRET, 2, 5.0)
    journal.refuse([one])
    journal.refuse([one])
    assert journal.refusals(ROOT) == [Refused(f"{ROOT}/a.py", ROOT, Refusal.SECRET, 4, 5.0)]
    assert journal.refusals("/other") == []


def test_settling_stores_file_edit_and_refusals_together(journal: Journal) -> None:
    stored = journal.settle(
        _seen("a.py", "start = 1\nvalue_1 = 1\n"), _edit(1), [Refused(f"{ROOT}/a.py", ROOT, Refusal.MOVED)]
    )
    assert stored and journal.count() == 1
    seen = journal.files.read(f"{ROOT}/a.py")
    assert seen and seen.text == stored.after
    assert len(journal.refusals()) == 1


def test_texts_are_kept_once_and_no_longer_than_needed(journal: Journal) -> None:
    journal.settle(_seen("a.py", "one\n"))
    journal.settle(_seen("b.py", "one\n"))
    count = "SELECT count(*) FROM texts"
    with sqlite3.connect(journal.path) as direct:
        assert direct.execute(count).fetchone() == (1,)
        journal.settle(_seen("a.py", "two\n"))
        journal.settle(_seen("b.py", "two\n"))
        assert direct.execute(count).fetchone() == (1,)
    direct.close()


def test_old_edits_are_pruned(journal: Journal) -> None:
    now = 1000 * 86_400.0
    journal.add([_edit(1), _edit(2, saved=now)])
    assert journal.prune(now) == 1
    assert [one.saved for one in journal.edits()] == [now]


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j" / "journal.sqlite", Limits(max_bytes=4000))
    now = time.time()
    noise = [os.urandom(600).hex() for _ in range(20)]
    journal.add([_edit(n, text=f"v = '{text}'\n", saved=now + n) for n, text in enumerate(noise)])
    journal.prune(now)
    left = list(journal.edits())
    assert 0 < len(left) < 20
    assert left[-1].after.endswith(f"v = '{noise[-1]}'\n")
    journal.close()


@pytest.mark.parametrize("forgotten", [f"{ROOT}/secret_plan.py", f"{ROOT}/", ROOT])
def test_forgetting_leaves_no_trace(journal: Journal, forgotten: str) -> None:
    words = os.urandom(2000).hex()  # zlib can do little with it, so that the test looks for what is really stored
    texts = [f"start\n{words[n : n + 400]}\n" for n in range(0, 2000, 400)]
    path = f"{ROOT}/secret_plan.py"
    for n, text in enumerate(texts):
        journal.settle(
            SeenFile(path, ROOT, text, b"\2" * 32, n, len(text)),
            EditEvent(path, ROOT, "python", texts[n - 1] if n else "", text, float(n)),
            [Refused(path, ROOT, Refusal.SECRET)],
        )
    rows = journal._connection.execute("SELECT packed FROM texts WHERE size_bytes > 100").fetchall()
    traces = [packed[20:60] for (packed,) in rows]
    assert len(traces) == len(texts) and all(trace in _raw(journal) for trace in traces), "or this test could not fail"
    other = EditEvent("/else/b.py", "/else", "python", "", "kept = 1\n", 9.0)
    journal.add([other])
    assert journal.forget(forgotten) == len(texts)
    raw = _raw(journal)
    assert b"secret_plan" not in raw
    assert not any(trace in raw for trace in traces)
    assert [one.path for one in journal.edits()] == ["/else/b.py"]


def test_forgetting_a_file_forgets_it_under_its_former_names(journal: Journal) -> None:
    journal.settle(_seen("old.py", "start = 1\nvalue_1 = 1\n"), _edit(1, "old.py"))
    with journal.changing_files():
        journal.files.rename(f"{ROOT}/old.py", f"{ROOT}/new.py")
    assert journal.files.read(f"{ROOT}/new.py")
    assert journal.forget(f"{ROOT}/new.py") == 1
    assert journal.count() == 0
    assert journal.files.was_forgotten(f"{ROOT}/new.py")
    assert b"old.py" not in _raw(journal)


def test_forgetting_a_name_leaves_its_namesakes(journal: Journal) -> None:
    journal.add([_edit(1, "a.py"), _edit(2, "a.pyx"), _edit(3, "a.py.d/b.py")])
    assert journal.forget(f"{ROOT}/a.py") == 1
    assert journal.count() == 2


def test_forgetting_says_when_a_reader_keeps_it_from_being_overwritten(journal: Journal) -> None:
    journal.add([_edit(1)])
    reader = sqlite3.connect(journal.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM edits").fetchone()
    journal._connection.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(NotReady, match="another process"):
        journal.forget(ROOT)
    reader.close()
    assert journal.forget(ROOT) == 0
    assert b"value_1" not in _raw(journal)


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 400, None])
def test_a_damaged_journal_is_kept_and_a_new_one_begun(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "j" / "journal.sqlite"
    with_edits = Journal(path)
    with_edits.add([_edit(n, text=_body(n)) for n in range(20)])
    with_edits.close()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:4096] + b"\xa5" * middle + whole[4096 + middle :] if damage is None else damage)
    journal = Journal(path)
    if damage == b"":
        assert journal.problem is None, "an empty file is a new journal"
    else:
        assert journal.problem and "kept as journal.sqlite.broken-" in journal.problem
        assert len(list(path.parent.glob("journal.sqlite.broken-*"))) == 1
    assert len(journal.add([_edit(1)])) == 1
    journal.forget(ROOT)
    assert list(path.parent.glob("journal.sqlite.broken-*")) == [], "a damaged copy cannot be forgotten in part"
    journal.close()


def test_a_journal_that_is_damaged_while_it_is_open_is_set_aside(journal: Journal) -> None:
    journal.add([_edit(n, text=_body(n)) for n in range(20)])
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    journal.reopen()
    assert journal.problem and "was damaged" in journal.problem
    assert len(journal.add([_edit(1)])) == 1


def test_a_journal_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "j" / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as direct:
        direct.execute("PRAGMA user_version = 99")
    direct.close()
    before = path.read_bytes()
    with pytest.raises(NotReady, match="newer"):
        Journal(path)
    assert path.read_bytes() == before


def test_every_step_leads_to_the_same_schema(tmp_path: Path) -> None:
    """A database of any age and a new one end alike."""
    schemas = []
    for first in range(len(MIGRATIONS) + 1):
        connection = sqlite3.connect(tmp_path / f"{first}.sqlite", isolation_level=None)
        migrate(connection, MIGRATIONS[:first])
        migrate(connection)
        schemas.append(connection.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall())
        connection.close()
    assert all(schema == schemas[0] for schema in schemas)


def test_a_full_disk_is_said_and_nothing_is_half_stored(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j" / "journal.sqlite")
    journal.add([_edit(1)])
    journal._connection.execute("PRAGMA max_page_count = 30")  # what SQLite then says is what a full disk makes it say
    noise = os.urandom(200_000).hex()
    with pytest.raises(JournalUnwritable, match="full"):
        journal.settle(_seen("b.py", noise), _edit(2, "b.py", noise))
    assert journal.count() == 1
    assert journal.files.read(f"{ROOT}/b.py") is None
    journal.close()


def test_a_file_that_may_not_grow_is_said(tmp_path: Path) -> None:
    """The operating system itself refuses: RLIMIT_FSIZE stands for a quota."""
    journal = Journal(tmp_path / "j" / "journal.sqlite")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = os.urandom(2_000_000).hex()
    import signal  # noqa: PLC0415

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(JournalUnwritable):
            journal.add([_edit(2, "b.py", noise)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert journal.count() == 0
    assert len(journal.add([_edit(3)])) == 1
    journal.close()


def test_two_processes_may_write(journal: Journal) -> None:
    other = Journal(journal.path)
    journal.add([_edit(1)])
    other.add([_edit(2)])
    assert journal.count() == other.count() == 2
    other.close()
