"""A watcher that is killed at any moment loses nothing but what was never saved, and repeats nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.edits import EditEvent

PROCESS = Path(__file__).with_name("watching_process.py")


def _start(state: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, str(PROCESS), str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return child


def _end(child: subprocess.Popen[str], how: signal.Signals | None = None) -> list[str]:
    """Lines that it had still to say."""
    assert child.stdin and child.stdout
    with child:
        if how is None:
            child.stdin.close()
        else:
            child.send_signal(how)
        return child.stdout.read().splitlines()


def _lines(seed: int, n_functions: int) -> str:
    """Text that is unlike that of any other seed: what was learnt before would be left out."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghij", k=9)) for _ in range(4 * n_functions)]
    return "".join(
        f"def {words[n]}({words[n + 1]}):\n    {words[n + 2]} = {words[n + 1]}\n    return {words[n + 3]} + {seed}\n\n\n"
        for n in range(0, len(words), 4)
    )


@pytest.mark.e2e
def test_killed_again_and_again_it_records_every_save_once(tmp_path: Path) -> None:
    root, state = tmp_path.resolve() / "project", tmp_path / "state"
    root.mkdir()
    texts = {f"{root}/m{n}.py": f"start_{n} = {n}\n" for n in range(4)}
    for path, text in texts.items():
        Path(path).write_text(text)
    LearnedFolders(state / "folders.json").on(root)
    first = _start(state)
    assert first.stdout and first.stdout.readline() == "ready\n"
    _end(first)
    chance = random.Random(7)
    begun = dict(texts)
    for turn in range(12):
        child = _start(state)
        assert child.stdout
        if turn % 3:  # or it is killed while it scans
            assert "ready" in iter(lambda child=child: child.stdout.readline().strip(), "")
        for number, (path, text) in enumerate(texts.items()):
            texts[path] = text + _lines(100 * turn + number, 3)
            Path(path).write_text(texts[path])
        for _ in range(chance.randrange(4) if turn % 3 else 0):
            child.stdout.readline()  # so many edits are stored, and more are on their way
        _end(child, signal.SIGKILL)
    last = _start(state)
    assert last.stdout
    assert "ready" in iter(lambda: last.stdout.readline().strip(), "")
    _end(last)
    journal = Journal(state / "journal.sqlite")
    assert journal.problem is None
    edits: dict[str, list[EditEvent]] = {path: [] for path in texts}
    for edit in journal.edits():
        edits[edit.path].append(edit)
    for path, known in edits.items():
        assert known[0].before == begun[path]
        assert [edit.before for edit in known[1:]] == [edit.after for edit in known[:-1]], (
            "no save twice, none left out"
        )
        assert known[-1].after == texts[path]
    journal.close()


@pytest.mark.e2e
def test_what_was_stored_is_there_after_a_kill(tmp_path: Path) -> None:
    root, state = tmp_path.resolve() / "project", tmp_path / "state"
    root.mkdir()
    (root / "a.py").write_text("start = 1\n")
    LearnedFolders(state / "folders.json").on(root)
    child = _start(state)
    assert child.stdout and child.stdout.readline() == "ready\n"
    (root / "a.py").write_text("start = 1\n" + _lines(1, 5))
    assert child.stdout.readline() == "1 a.py\n"
    _end(child, signal.SIGKILL)
    journal = Journal(state / "journal.sqlite")
    assert [edit.after for edit in journal.edits()] == ["start = 1\n" + _lines(1, 5)]
    journal.close()


@pytest.mark.e2e
def test_an_idle_watcher_sleeps_and_loads_no_torch(tmp_path: Path) -> None:
    import psutil  # noqa: PLC0415

    root, state = tmp_path.resolve() / "project", tmp_path / "state"
    root.mkdir()
    LearnedFolders(state / "folders.json").on(root)
    child = _start(state)
    assert child.stdout and child.stdout.readline() == "ready\n"
    process = psutil.Process(child.pid)
    if sys.platform.startswith("linux"):
        assert not any("torch" in one.path for one in process.memory_maps())
    assert process.memory_info().rss < 200 << 20
    _end(child)
    assert child.returncode == 0
