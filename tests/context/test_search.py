"""The index of a workspace: incremental, bounded, forgetful, and deaf to operators in a query."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_runtime.context.ignore import IgnoreRules
from local_runtime.context.search import IndexLimits, Refreshed, WorkspaceIndex

LIMITS = IndexLimits()


def index_of(root: Path, database: Path, limits: IndexLimits = LIMITS) -> WorkspaceIndex:
    return WorkspaceIndex(database / "index.sqlite", IgnoreRules(root), limits)


def refreshed(index: WorkspaceIndex) -> Refreshed:
    *_, last = index.refresh()
    return last


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    for n in range(30):
        (root / f"pkg{n % 3}").mkdir(parents=True, exist_ok=True)
        (root / f"pkg{n % 3}" / f"m{n}.py").write_text(f"def handler_{n}(request):\n    return compute_{n}(request)\n")
    (root / ".gitignore").write_text("hidden/\n")
    (root / "hidden").mkdir()
    (root / "hidden" / "h.py").write_text("def handler_hidden(): pass\n")
    (root / ".env").write_text("handler_env=1\n")
    (root / "conf.py").write_text('handler_conf = 1\npassword = "correct-h0rse-battery"\n')
    return root


def found(index: WorkspaceIndex, *names: str, exclude: str = "", n: int = 6) -> list[str]:
    return [excerpt.path for excerpt in index.search(frozenset(names), exclude, n)]


def test_what_fits_is_found_and_what_is_ignored_or_secret_is_not(workspace: Path, tmp_path: Path) -> None:
    index = index_of(workspace, tmp_path)
    assert refreshed(index).n_indexed == 32  # 30 modules, conf.py and .gitignore itself
    assert (
        found(index, "handler_7", "request") == ["pkg1/m7.py"]
        or found(index, "handler_7", "request")[0] == "pkg1/m7.py"
    )
    assert found(index, "compute_7", exclude="pkg1/m7.py") == []
    for name in ("handler_hidden", "handler_env", "handler_conf"):
        assert found(index, name) == [], name
    index.close()


def test_only_what_changed_is_read_again(workspace: Path, tmp_path: Path) -> None:
    index = index_of(workspace, tmp_path)
    refreshed(index)
    assert refreshed(index).n_indexed == 0
    (workspace / "pkg0" / "m0.py").write_text("def renamed_thing(): pass\n")
    (workspace / "pkg1" / "m1.py").unlink()
    os.utime(workspace / "pkg2" / "m2.py", ns=(1, 1))  # touched, not changed
    report = refreshed(index)
    assert (report.n_removed, found(index, "renamed_thing")) == (1, ["pkg0/m0.py"])
    assert found(index, "handler_0") == []
    assert found(index, "handler_1") == []
    assert found(index, "handler_2") == ["pkg2/m2.py"]
    index.close()


def test_one_saved_file_is_taken_in_at_once(workspace: Path, tmp_path: Path) -> None:
    index = index_of(workspace, tmp_path)
    refreshed(index)
    (workspace / "new.py").write_text("def brand_new(): pass\n")
    index.update("new.py")
    index.update("hidden/h.py")
    assert found(index, "brand_new") == ["new.py"]
    assert found(index, "handler_hidden") == []
    (workspace / "new.py").unlink()
    index.update("new.py")
    assert found(index, "brand_new") == []
    index.close()


def test_a_new_ignore_rule_takes_files_out(workspace: Path, tmp_path: Path) -> None:
    rules = IgnoreRules(workspace)
    index = WorkspaceIndex(tmp_path / "index.sqlite", rules)
    refreshed(index)
    (workspace / ".gitignore").write_text("pkg0/\n")
    rules.forget_rules()
    assert refreshed(index).n_removed == 10
    assert found(index, "handler_0") == []
    index.close()


def test_forgetting_leaves_no_trace_in_the_files(workspace: Path, tmp_path: Path) -> None:
    (workspace / "private").mkdir()
    for n in range(3):
        (workspace / "private" / f"p{n}.py").write_text(f"zanzibar_{n} = 'unmistakable'\n" * 5)
    folder = tmp_path / "db"
    index = index_of(workspace, folder)
    refreshed(index)
    assert found(index, "zanzibar_1")
    assert any(b"zanzibar" in file.read_bytes() for file in folder.iterdir())
    index.forget("private")
    assert found(index, "zanzibar_1") == []
    assert found(index, "handler_3") == ["pkg0/m3.py"]
    assert not [file.name for file in folder.iterdir() if b"zanzibar" in file.read_bytes()]
    index.close()
    assert not [file.name for file in folder.iterdir() if b"unmistakable" in file.read_bytes()]


def test_forgetting_a_file_keeps_its_namesakes(workspace: Path, tmp_path: Path) -> None:
    (workspace / "pkg1x").mkdir()
    (workspace / "pkg1x" / "a.py").write_text("neighbour_of_pkg1 = 1\n")
    index = index_of(workspace, tmp_path)
    refreshed(index)
    index.forget("pkg1")
    assert found(index, "neighbour_of_pkg1") == ["pkg1x/a.py"]
    index.close()


@given(names=st.frozensets(st.text(max_size=30), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_no_query_is_an_operator(names: frozenset[str], small_index: WorkspaceIndex) -> None:
    small_index.search(
        names | {'" OR text : *', "NEAR(a b)", "handler_1 NOT handler_2", "'; DROP TABLE files; --", "^x", "-y"}, "", 5
    )
    assert found(small_index, "handler_1") == ["a.py"]


@pytest.fixture(scope="module")
def small_index(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceIndex:
    root = tmp_path_factory.mktemp("small")
    (root / "a.py").write_text("def handler_1(): pass\n")
    index = index_of(root, tmp_path_factory.mktemp("database"))
    refreshed(index)
    return index


def test_when_it_is_late_there_is_no_answer_and_no_error(workspace: Path, tmp_path: Path) -> None:
    for n in range(400):
        (workspace / f"w{n}.py").write_text("\n".join(f"word_{i} = other_{i}" for i in range(n % 7, 60)))
    index = index_of(workspace, tmp_path)
    refreshed(index)
    names = frozenset(f"word_{i}" for i in range(60))
    assert index.search(names, "", 5, late=lambda: True) == []
    assert found(index, "handler_5") == ["pkg2/m5.py"]
    index.close()


def test_ten_thousand_files_stay_within_the_limits(tmp_path: Path) -> None:
    root = tmp_path / "work"
    for folder in range(100):
        (root / f"d{folder}").mkdir(parents=True)
        for n in range(100):
            (root / f"d{folder}" / f"f{n}.py").write_text(f"name_{folder}_{n} = {n}\n")
    index = index_of(root, tmp_path, IndexLimits(max_files=1000, max_text_bytes=10_000_000))
    report = refreshed(index)
    assert (report.n_seen, report.n_indexed, report.full) == (1000, 1000, True)
    small = index_of(root, tmp_path / "bytes", IndexLimits(max_files=20_000, max_text_bytes=10_000))
    report = refreshed(small)
    assert report.full
    assert report.n_bytes <= 10_000
    assert (tmp_path / "bytes" / "index.sqlite").stat().st_size < 1 << 20
    index.close()
    small.close()


def test_a_long_file_is_indexed_in_part(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    (root / "long.py").write_text("".join(f"name_{n} = {n}\n" for n in range(5000)))
    index = index_of(root, tmp_path, IndexLimits(max_excerpts_per_file=10))
    refreshed(index)
    assert found(index, "name_3") == ["long.py"]
    assert found(index, "name_4000") == []
    index.close()


def test_a_damaged_database_is_made_anew(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    index = index_of(workspace, tmp_path)
    refreshed(index)
    assert found(index, "handler_4") == ["pkg1/m4.py"]
    index.close()


def test_the_database_is_readable_by_its_user_alone(workspace: Path, tmp_path: Path) -> None:
    index = index_of(workspace, tmp_path / "db")
    assert (tmp_path / "db" / "index.sqlite").stat().st_mode & 0o077 == 0
    assert (tmp_path / "db").stat().st_mode & 0o077 == 0
    index.close()


def test_a_refresh_that_is_stopped_goes_on_later(workspace: Path, tmp_path: Path) -> None:
    index = index_of(workspace, tmp_path)
    first = next(index.refresh())
    assert first.n_seen == 4
    other = index_of(workspace, tmp_path)  # no lock is held between two reports
    assert refreshed(other).n_indexed == 32 - first.n_indexed
    index.close()
    other.close()
