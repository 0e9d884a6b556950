"""Who writes, told by git's lock, or by what was written together."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.collect.git_activity import GitActivity


def _activity() -> GitActivity:
    activity = GitActivity()
    activity.watch("/w/.git", "/w")
    activity.watch("/w/sub/.git", "/w/sub")
    return activity


def test_what_is_written_under_the_lock_is_gits() -> None:
    activity = _activity()
    activity.written("/w/a.py", 1.0)
    activity.appeared("/w/.git/index.lock", 2.0)
    activity.written("/w/b.py", 2.1)
    activity.written("/w/sub/c.py", 2.1)
    activity.vanished("/w/.git/index.lock")
    activity.written("/w/d.py", 2.2)
    assert [name for name in ("a", "b", "d") if activity.wrote(f"/w/{name}.py")] == ["b"]
    assert not activity.wrote("/w/sub/c.py"), "another repository's lock says nothing"
    assert not activity.wrote("/w/b.py"), "it was asked before"


def test_a_lock_that_stays_is_no_longer_believed() -> None:
    """`git commit -a` keeps it while the message is written."""
    activity = _activity()
    activity.appeared("/w/.git/index.lock", 0.0)
    activity.written("/w/a.py", 60.0)
    assert not activity.wrote("/w/a.py")


def test_files_of_git_that_are_no_locks_say_nothing() -> None:
    activity = _activity()
    assert activity.is_git_file("/w/.git/FETCH_HEAD") and not activity.is_git_file("/w/a.py")
    activity.appeared("/w/.git/FETCH_HEAD", 1.0)
    activity.written("/w/a.py", 1.0)
    assert not activity.wrote("/w/a.py")


def test_many_files_written_with_the_index_are_gits(tmp_path: Path) -> None:
    git_dir = tmp_path / ".git"
    git_dir.mkdir()
    (git_dir / "index").write_bytes(b"")
    os.utime(git_dir / "index", (1000.0, 1000.0))
    activity = GitActivity()
    activity.watch(git_dir.as_posix(), tmp_path.as_posix())
    near = {f"{tmp_path}/{n}.py": 1000.0 + n / 10 for n in range(5)}
    far = {f"{tmp_path}/far{n}.py": 1100.0 for n in range(5)}
    assert activity.wrote_burst(near | far) == frozenset(near)
    assert activity.wrote_burst(dict(list(near.items())[:3])) == frozenset(), "a few may have been typed"
    assert activity.wrote_burst({f"/elsewhere/{n}.py": 1000.0 for n in range(9)}) == frozenset()
