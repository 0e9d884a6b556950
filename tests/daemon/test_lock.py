"""The lock that makes the daemon the only one."""

from __future__ import annotations

import os
from pathlib import Path

from local_runtime.client import lock


def test_a_removed_lock_file_guards_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = lock.take(path, "1")
    assert held is not None
    assert lock.take(path, "2") is None
    path.unlink()
    again = lock.take(path, "3")
    assert again is not None
    for descriptor in (held, again):
        os.close(descriptor)


def test_the_holder_is_named_and_known_to_live(tmp_path: Path) -> None:
    held = lock.take(tmp_path / "lock", "1.2")
    assert held is not None
    holder = lock.holder(tmp_path / "lock")
    assert holder and (holder.pid, holder.version) == (os.getpid(), "1.2")
    assert holder.alive()
    assert not lock.Holder(holder.pid, holder.started - 100).alive()  # the same number, another process
    os.close(held)


def test_a_damaged_lock_file_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff{")
    assert lock.holder(tmp_path / "lock") is None
    held = lock.take(tmp_path / "lock", "1")
    assert held is not None
    os.close(held)
