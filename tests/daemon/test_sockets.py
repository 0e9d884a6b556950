"""Where the socket is, and who could reach it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from local_runtime.client import sockets
from local_runtime.daemon.guard import read_token
from local_runtime.errors import DaemonUnreachable
from local_runtime.places import places


def test_every_path_that_the_platform_can_bind_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = sockets.longest_socket_path()
    fixed = len("/run/daemon.sock")
    for length, short in ((limit, False), (limit + 1, True)):
        home = "/" + "h" * (length - fixed - 1)
        monkeypatch.setenv("UNDERSTUDY_HOME", home)
        path = sockets.socket_path()
        assert (path.parent != places().runtime) is short
        assert len(os.fsencode(path)) <= limit


def test_homes_that_are_too_long_do_not_share_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for letter in "ab":
        monkeypatch.setenv("UNDERSTUDY_HOME", "/" + letter * 200)
        found.add(sockets.socket_path())
    assert len(found) == 2


def test_without_a_home_of_our_own_the_runtime_folder_needs_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_HOME")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere/else")
    with_it = places().runtime
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert places().runtime == with_it


def test_an_open_folder_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir(mode=0o755)
    sockets.private_folder(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_folder_under_one_that_others_can_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(DaemonUnreachable, match="can be changed by other users"):
        sockets.private_folder(shared / "run")
    shared.chmod(0o1777)  # sticky, as /tmp is: nobody can rename what is another's
    sockets.private_folder(shared / "run")


def test_the_token_is_kept_and_private(tmp_path: Path) -> None:
    first = read_token(tmp_path / "c" / "token")
    assert len(first) >= 32
    assert read_token(tmp_path / "c" / "token") == first
    assert stat.S_IMODE((tmp_path / "c" / "token").stat().st_mode) == 0o600
    (tmp_path / "c" / "token").write_text("short")
    assert read_token(tmp_path / "c" / "token") != "short"
