"""The watcher with real files, real inotify, real git, and the ways in which editors save."""

from __future__ import annotations

import os
import queue
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from repository import commit, git, repository

from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.refusals import Refusal
from trainer.collect.watch import Watcher
from trainer.collect.watched_folder import Pace
from trainer.edits import EditEvent, Origin

PACE = Pace(quiet_seconds=0.15, gather_seconds=0.05, look_seconds=0.1)
SECONDS = 20.0
START = 1_700_000_000.0
FIRST = "def one():\n    return 1\n"
SECOND = FIRST + "\n\ndef two(value):\n    return value * 2\n"


class Watched:
    """A project that is being watched; `edit` waits for the next edit."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root
        self.folders = LearnedFolders(state / "folders.json")
        self.journal_path = state / "journal.sqlite"
        self._edits: queue.Queue[EditEvent] = queue.Queue()
        self._watcher: Watcher | None = None
        self._journal: Journal | None = None
        self._n_markers = 0
        self.pace = PACE

    def start(self) -> Watcher:
        self._journal = Journal(self.journal_path)
        self._watcher = Watcher(self.folders, self._journal, self.pace, self._edits.put)
        self._watcher.start()
        assert self._watcher.wait_ready(SECONDS)
        return self._watcher

    def stop(self) -> None:
        if self._watcher and self._journal:
            self._watcher.stop()
            self._journal.close()
        self._watcher = self._journal = None

    def edit(self) -> EditEvent:
        return self._edits.get(timeout=SECONDS)

    def next_is_a_marker(self) -> None:
        """Nothing that was done before this is recorded: what is typed now comes first."""
        marker = self.root / "marker.py"
        self._n_markers += 1
        with marker.open("a") as file:
            file.write(f"marker_{self._n_markers} = {self._n_markers}\n")
        assert self.edit().path == marker.as_posix()

    def refused(self) -> dict[str, Refusal]:
        journal = Journal(self.journal_path)
        found = {one.path.removeprefix(f"{self.root}/"): one.reason for one in journal.refusals()}
        journal.close()
        return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = repository(tmp_path.resolve() / "project")
    commit(root, {"a.py": FIRST, "b.py": "b = 1\n", "c.py": "c = 1\n", ".gitignore": "ignored/\n"}, START)
    return root


@pytest.fixture
def watched(project: Path, tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(project, tmp_path / "state")
    watched.folders.on(project)
    watched.start()
    yield watched
    watched.stop()


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _beside_and_rename(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    beside.replace(path)


def _like_vim(path: Path, text: str) -> None:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def _like_emacs(path: Path, text: str) -> None:
    lock = path.with_name(f".#{path.name}")
    lock.symlink_to("ada@host.1:1")
    autosave = path.with_name(f"#{path.name}#")
    autosave.write_text(text)
    shutil.copy(path, path.with_name(path.name + "~"))
    path.write_text(text)
    autosave.unlink()
    lock.unlink()


def _delete_and_write(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("save", [_write, _beside_and_rename, _like_vim, _like_emacs, _delete_and_write])
def test_a_save_is_recorded_however_the_editor_saves(watched: Watched, save: Callable[[Path, str], None]) -> None:
    save(watched.root / "a.py", SECOND)
    edit = watched.edit()
    assert (edit.model_path, edit.before, edit.after, edit.origin) == ("a.py", FIRST, SECOND, Origin.SAVE)
    assert (edit.root, edit.language, edit.id) == (watched.root.as_posix(), "python", 1)
    watched.next_is_a_marker()


def test_saves_that_follow_each_other_are_one_edit(watched: Watched) -> None:
    for n in range(1, len(SECOND) - len(FIRST) + 1, 7):
        (watched.root / "a.py").write_text(SECOND[: len(FIRST) + n])
    (watched.root / "a.py").write_text(SECOND)
    edit = watched.edit()
    assert (edit.before, edit.after) == (FIRST, SECOND)


def test_a_new_file_in_a_new_folder(watched: Watched) -> None:
    folder = watched.root / "deep" / "deeper"
    folder.mkdir(parents=True)
    (folder / "new.py").write_text(SECOND)
    edit = watched.edit()
    assert (edit.model_path, edit.before, edit.after) == ("deep/deeper/new.py", "", SECOND)


def test_a_moved_file_keeps_its_history(watched: Watched) -> None:
    (watched.root / "deep").mkdir()
    (watched.root / "a.py").rename(watched.root / "deep" / "z.py")
    watched.next_is_a_marker()
    (watched.root / "deep" / "z.py").write_text(SECOND)
    edit = watched.edit()
    assert (edit.model_path, edit.before, edit.after) == ("deep/z.py", FIRST, SECOND)


def test_a_moved_folder_keeps_its_history(watched: Watched) -> None:
    (watched.root / "deep").mkdir()
    (watched.root / "deep" / "x.py").write_text(SECOND)
    assert watched.edit().model_path == "deep/x.py"
    (watched.root / "deep").rename(watched.root / "low")
    watched.next_is_a_marker()
    (watched.root / "low" / "x.py").write_text(SECOND + "x = 3\n")
    edit = watched.edit()
    assert (edit.model_path, edit.before) == ("low/x.py", SECOND)


def test_a_deleted_file_is_no_edit(watched: Watched) -> None:
    (watched.root / "a.py").unlink()
    watched.next_is_a_marker()


def test_what_is_not_learnt_from_is_not_recorded(watched: Watched, tmp_path: Path) -> None:
    (watched.root / "ignored").mkdir()
    (watched.root / "ignored" / "a.py").write_text(SECOND)
    (watched.root / "node_modules").mkdir()
    (watched.root / "node_modules" / "a.js").write_text("var a = 1\n")
    (watched.root / ".env").write_text("TOKEN=1\n")
    (watched.root / "data.bin").write_bytes(b"\0" * 100)
    (watched.root / "link.py").symlink_to(tmp_path / "elsewhere.py")
    (tmp_path / "elsewhere.py").write_text(SECOND)
    (watched.root / "key.py").write_text('K = """-----BEGIN ' + 'PRIVATE KEY-----\nabc"""\n')
    watched.next_is_a_marker()
    assert watched.refused() == {"key.py": Refusal.PRIVATE_KEY, "link.py": Refusal.LINK}


def test_a_secret_never_reaches_the_journals_files(watched: Watched) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    (watched.root / "a.py").write_text(f'{FIRST}\nT = "{token}"\n\n\ndef two(value):\n    return value * 2\n')
    edit = watched.edit()
    assert "def two" in edit.after and "def two" not in edit.before
    assert token not in edit.before + edit.after
    assert watched.refused() == {"a.py": Refusal.SECRET}


def _two_branches(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "other")
    commit(root, {f"{name}.py": f"{name} = {n}\nother = {n}\n" for n, name in enumerate("abc")}, START + 1)
    git(root, "checkout", "-q", "main")


@pytest.fixture
def branches(project: Path, tmp_path: Path) -> Iterator[Watched]:
    _two_branches(project)
    watched = Watched(project, tmp_path / "state")
    watched.folders.on(project)
    watched.start()
    yield watched
    watched.stop()


def test_a_branch_switch_is_not_typing(branches: Watched) -> None:
    git(branches.root, "checkout", "-q", "other")
    branches.next_is_a_marker()
    (branches.root / "a.py").write_text("a = 0\nother = 0\nmine = 5\n")
    edit = branches.edit()
    assert (edit.before, edit.after) == ("a = 0\nother = 0\n", "a = 0\nother = 0\nmine = 5\n")
    git(branches.root, "stash", "-q", "--include-untracked")
    git(branches.root, "checkout", "-q", "main")
    branches.next_is_a_marker()
    assert Refusal.SWITCHED in branches.refused().values()


@pytest.mark.parametrize(
    "undo", [["checkout", "--", "a.py"], ["restore", "a.py"], ["stash", "-q"], ["reset", "-q", "--hard"]]
)
def test_what_git_takes_back_is_not_typing(branches: Watched, undo: list[str]) -> None:
    path = branches.root / "a.py"
    path.write_text(SECOND)
    assert branches.edit().after == SECOND
    git(branches.root, *undo)
    assert path.read_text() == FIRST
    branches.next_is_a_marker()
    path.write_text(FIRST + "last = 1\n")
    assert branches.edit().before == FIRST


def test_what_a_stash_brings_back_is_not_typing(branches: Watched) -> None:
    branches.stop()
    (branches.root / "a.py").write_text(SECOND)
    git(branches.root, "stash", "-q")
    branches.start()
    git(branches.root, "stash", "pop", "-q")
    assert (branches.root / "a.py").read_text() == SECOND
    branches.next_is_a_marker()


def test_a_rebase_is_not_typing(branches: Watched) -> None:
    commit(branches.root, {"d.py": "d = 1\n"}, START + 2)
    assert branches.edit().model_path == "d.py"
    git(branches.root, "rebase", "-q", "other")
    branches.next_is_a_marker()


def test_a_commit_right_after_a_save_takes_nothing_away(branches: Watched) -> None:
    (branches.root / "a.py").write_text(SECOND)
    git(branches.root, "commit", "-q", "-a", "-m", "Work")
    edit = branches.edit()
    assert (edit.before, edit.after) == (FIRST, SECOND)


def test_many_files_at_once_were_not_typed(watched: Watched) -> None:
    watched.stop()
    watched.pace = Pace(quiet_seconds=0.15, gather_seconds=1.0, look_seconds=0.1)
    watched.start()
    for n in range(60):
        (watched.root / f"m{n}.py").write_text(f"value_{n} = {n}\n")
    _until(lambda: Refusal.BULK in watched.refused().values())
    watched.next_is_a_marker()


def test_an_ignore_file_holds_from_its_save_on(watched: Watched) -> None:
    (watched.root / "quiet").mkdir()
    (watched.root / ".trainignore").write_text("quiet/\n")
    watched.next_is_a_marker()
    (watched.root / "quiet" / "a.py").write_text(SECOND)
    watched.next_is_a_marker()


def test_folders_are_opted_in_and_out_while_it_runs(watched: Watched, tmp_path: Path) -> None:
    other = tmp_path.resolve() / "other"
    other.mkdir()
    (other / "a.py").write_text(FIRST)
    watched.folders.on(other)
    journal = Journal(watched.journal_path)
    _until(lambda: journal.files.is_known(f"{other}/a.py"))
    (other / "a.py").write_text(SECOND)
    assert watched.edit().root == other.as_posix()
    watched.folders.off(watched.root)
    journal.close()


def test_nothing_is_recorded_in_a_pause_nor_after_it_of_what_was_saved_in_it(watched: Watched) -> None:
    watched.folders.pause()
    _until(lambda: watched._watcher is not None and watched._watcher._is_paused)
    (watched.root / "a.py").write_text(SECOND)
    watched.folders.resume()
    _until(lambda: watched._watcher is not None and not watched._watcher._is_paused)
    watched.next_is_a_marker()
    (watched.root / "a.py").write_text(SECOND + "x = 1\n")
    assert watched.edit().before == SECOND


def test_what_waits_is_recorded_when_it_is_stopped(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    folders = LearnedFolders(state / "folders.json")
    folders.on(project)
    journal = Journal(state / "journal.sqlite")
    watcher = Watcher(folders, journal, Pace(quiet_seconds=1000.0, gather_seconds=0.05))
    watcher.start()
    assert watcher.wait_ready(SECONDS)
    (project / "a.py").write_text(SECOND)
    _until(lambda: bool(watcher._watched[project.as_posix()][0]._settling.all()))
    watcher.stop()
    assert [edit.after for edit in journal.edits()] == [SECOND]
    journal.close()


def test_what_happened_while_it_did_not_run(watched: Watched) -> None:
    watched.stop()
    (watched.root / "a.py").write_text(SECOND)
    (watched.root / "new.py").write_text("def new(x):\n    return x\n")
    (watched.root / "b.py").rename(watched.root / "moved.py")
    (watched.root / "c.py").write_text("c = 1\n\n\ndef committed(x):\n    return -x\n")
    git(watched.root, "commit", "-q", "-m", "Work", "c.py")
    watched.start()
    journal = Journal(watched.journal_path)
    edits = {edit.model_path: edit for edit in journal.edits()}
    assert edits["a.py"].after == SECOND
    assert {path: (edit.before, edit.origin) for path, edit in edits.items()} == {
        "a.py": (FIRST, Origin.SCAN),
        "new.py": ("", Origin.SCAN),
        "c.py": ("c = 1\n", Origin.COMMIT),
    }
    assert journal.files.is_known(f"{watched.root}/moved.py") and not journal.files.is_known(f"{watched.root}/b.py")
    journal.close()


def test_a_checkout_while_it_did_not_run_is_not_typing(branches: Watched) -> None:
    branches.stop()
    git(branches.root, "checkout", "-q", "other")
    branches.start()
    branches.next_is_a_marker()
    (branches.root / "a.py").write_text("a = 0\nother = 0\nmine = 5\n")
    assert branches.edit().before == "a = 0\nother = 0\n"


def test_a_folder_that_is_gone_is_said_and_one_that_comes_back_is_watched(watched: Watched, tmp_path: Path) -> None:
    away = tmp_path / "away"
    watched.root.rename(away)
    watcher = watched._watcher
    assert watcher
    _until(lambda: any("not there" in problem for problem in watcher.problems))
    away.rename(watched.root)
    _until(lambda: watcher.problems == ())
    (watched.root / "a.py").write_text(SECOND)
    assert watched.edit().after == SECOND


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")
def test_unwanted_folders_are_not_watched(project: Path, tmp_path: Path) -> None:
    for name in ("node_modules/x/y", "ignored/z", "vendor/v", "src/deep", ".venv/lib"):
        (project / name).mkdir(parents=True)
    watched = Watched(project, tmp_path / "state")
    watched.folders.on(project)
    watcher = watched.start()
    (emitter,) = watcher._observer.emitters  # type: ignore[union-attr]
    below = {os.fsdecode(path).removeprefix(f"{project}") for path in emitter._inotify._active_callbacks_by_path}  # type: ignore[attr-defined]
    assert below == {"", "/.git", "/src", "/src/deep"}
    (project / "node_modules" / "x" / "z").mkdir()
    watched.next_is_a_marker()
    assert len(emitter._inotify._active_callbacks_by_path) == 4  # type: ignore[attr-defined]
    watched.stop()


def test_a_full_disk_is_said_and_the_edit_is_recorded_when_there_is_room(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    folders = LearnedFolders(state / "folders.json")
    folders.on(project)
    journal = Journal(state / "journal.sqlite")
    edits: queue.Queue[EditEvent] = queue.Queue()
    pace = Pace(quiet_seconds=0.1, gather_seconds=0.05, look_seconds=0.1, retry_seconds=0.3)
    watcher = Watcher(folders, journal, pace, edits.put)
    watcher.start()
    assert watcher.wait_ready(SECONDS)
    (n_pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {n_pages + 2}")
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnop", k=8)) for _ in range(4000)]
    text = FIRST + "\n".join(f"{words[n]} = compute({words[n + 1]}, {n})" for n in range(0, 4000, 2)) + "\n"
    (project / "a.py").write_text(text)
    _until(lambda: any("full" in problem for problem in watcher.problems))
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    assert edits.get(timeout=SECONDS).before == FIRST
    _until(lambda: watcher.problems == ())
    watcher.stop()
    journal.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")
def test_the_kernels_limit_is_said_with_the_command_that_raises_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit belongs to the machine, so its refusal is made here; all else is real."""
    import errno  # noqa: PLC0415

    from watchdog.observers.inotify_c import InotifyFD  # noqa: PLC0415

    add = InotifyFD.add_callback

    def limited(self: InotifyFD, path: bytes, *rest: object) -> object:
        if path.endswith(b"/deep"):
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return add(self, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(InotifyFD, "add_callback", limited)
    (project / "deep").mkdir()
    watched = Watched(project, tmp_path / "state")
    watched.folders.on(project)
    watcher = watched.start()
    (problem,) = watcher.problems
    assert "/deep" in problem and "fs.inotify.max_user_watches=" in problem
    watched.next_is_a_marker()
    watched.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")
def test_after_lost_events_the_folder_is_looked_through(watched: Watched) -> None:
    watcher = watched._watcher
    assert watcher
    (emitter,) = watcher._observer.emitters  # type: ignore[union-attr]
    emitter._inotify._is_active = False  # type: ignore[attr-defined]  the kernel's queue is full: what happens now is not told
    (watched.root / "a.py").write_text(SECOND)
    (watched.root / "unseen.py").touch()
    emitter._inotify._is_active = True  # type: ignore[attr-defined]
    emitter._inotify.on_queue_overflow()  # type: ignore[attr-defined]
    assert watched.edit().after == SECOND


def _until(is_so: Callable[[], bool]) -> None:
    import time  # noqa: PLC0415

    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
