"""Folders are opted in and out, by several processes at once, and a damaged file opts nothing in."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_runtime.errors import BadRequest
from trainer.collect.folders import LearnedFolders


@pytest.fixture
def folders(tmp_path: Path) -> LearnedFolders:
    return LearnedFolders(tmp_path / "state" / "folders.json")


def _made(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.mkdir(parents=True)
    return path


def test_nothing_is_opted_in_at_first(folders: LearnedFolders) -> None:
    assert folders.all() == ()
    assert folders.of("/anything") is None


def test_on_and_off(folders: LearnedFolders, tmp_path: Path) -> None:
    work = _made(tmp_path, "work")
    opted_in = folders.on(work, since=5.0)
    assert LearnedFolders(folders.path).all() == (opted_in,)
    assert folders.of(work / "a.py") == opted_in
    assert folders.of(f"{work}er/a.py") is None
    assert folders.off(work)
    assert not folders.off(work)
    assert folders.all() == ()


def test_the_file_is_the_users_alone(folders: LearnedFolders, tmp_path: Path) -> None:
    folders.on(_made(tmp_path, "work"))
    assert stat.S_IMODE(folders.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folders.path.parent.stat().st_mode) == 0o700


def test_a_folder_inside_another_is_a_part_of_it(folders: LearnedFolders, tmp_path: Path) -> None:
    inner, outer = _made(tmp_path, "work/inner"), tmp_path / "work"
    folders.on(inner, since=9.0)
    whole = folders.on(outer, since=7.0)
    assert folders.all() == (whole,)
    assert folders.on(inner, since=8.0) == whole, "it already is a part, and since earlier"


def test_opting_in_again_reaches_further_back_only_when_asked(folders: LearnedFolders, tmp_path: Path) -> None:
    work = _made(tmp_path, "work")
    folders.on(work, since=9.0)
    assert folders.on(work).since == 9.0
    assert folders.on(work, since=4.0).since == 4.0


def test_a_link_is_opted_in_as_what_it_leads_to(folders: LearnedFolders, tmp_path: Path) -> None:
    work = _made(tmp_path, "work")
    link = tmp_path / "link"
    link.symlink_to(work)
    assert folders.on(link).root == work.resolve().as_posix()
    assert folders.off(link)


@pytest.mark.parametrize("path", [Path("/"), Path.home(), Path("/no/such/folder")])
def test_what_is_no_project_is_refused(folders: LearnedFolders, path: Path) -> None:
    with pytest.raises(BadRequest) as refused:
        folders.on(path)
    assert "understudy learn on" in str(refused.value)


def test_pause_until_a_time(folders: LearnedFolders) -> None:
    folders.pause(until=100.0)
    assert folders.paused(99.0)
    assert not folders.paused(100.0)
    folders.pause()
    assert folders.paused(1e12)
    folders.resume(now=50.0)
    assert not folders.paused(0.0)


def test_what_was_saved_before_opting_in_or_in_a_pause_is_not_recorded(folders: LearnedFolders, tmp_path: Path) -> None:
    work = folders.on(_made(tmp_path, "work"), since=5.0)
    assert folders.recorded_from(work) == work.opted_in > 5.0
    later = work.opted_in + 1000
    folders.pause(until=later)
    assert folders.recorded_from(work) == later
    folders.pause()
    assert folders.recorded_from(work) == float("inf")
    folders.resume(now=later + 1)
    assert folders.recorded_from(work) == later + 1


def test_many_writers_lose_nothing(folders: LearnedFolders, tmp_path: Path) -> None:
    paths = [_made(tmp_path, f"work{n}") for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: LearnedFolders(folders.path).on(path), paths))
    assert len(folders.all()) == 12


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"folders": [{"root": 3}]}', b"\xff" * 100])
def test_a_damaged_file_opts_nothing_in_and_is_kept(folders: LearnedFolders, tmp_path: Path, content: bytes) -> None:
    folders.path.parent.mkdir()
    folders.path.write_bytes(content)
    assert folders.all() == ()
    assert folders.problem and str(folders.path) in folders.problem
    folders.on(_made(tmp_path, "work"))
    assert folders.path.with_name(folders.path.name + ".broken").read_bytes() == content
    assert len(json.loads(folders.path.read_bytes())["folders"]) == 1
