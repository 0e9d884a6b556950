"""The runs on disk: taken up, cleared, pruned; one trainer at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from local_runtime.places import folder
from trainer.edits import Verdict
from trainer.nightly.runs import Reason, Record, Runs, Stage, read_record
from trainer.nightly.trainer_lock import (
    LockWanted,
    TrainerBusy,
    leave_if_wanted,
    trainer_lock,
    trainer_pid,
    wanted_path,
)


def record(began: float = 1e9) -> Record:
    return Record(id="", reason=Reason.FIRST, model="tiny", base_hash="b", began=began)


def test_a_run_is_found_again_where_it_stood(tmp_path: Path) -> None:
    run = Runs(tmp_path).begin(record())
    run.update(stage=Stage.GATE, candidate="v1", verdict=Verdict(True, ("better",), 0.8, {"nll": 1.5}))
    found = Runs(tmp_path).unfinished()
    assert found is not None
    assert found.record == run.record
    assert found.record.verdict == Verdict(True, ("better",), 0.8, {"nll": 1.5})
    found.finish("promoted", now=2e9)
    assert Runs(tmp_path).unfinished() is None
    assert [one.record.outcome for one in Runs(tmp_path).finished()] == ["promoted"]


def test_runs_of_one_second_have_names_of_their_own_in_order(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    ids = [runs.begin(record()).record.id for _ in range(3)]
    assert len(set(ids)) == 3
    assert [run.record.id for run in runs] == ids


@pytest.mark.parametrize("content", [None, b"", b'{"id": "x"', b"[]", b"\xff\xfe"])
def test_a_beginning_that_was_cut_off_is_cleared(tmp_path: Path, content: bytes | None) -> None:
    runs = Runs(tmp_path)
    whole = runs.begin(record())
    broken = tmp_path / "20260101-000000"
    broken.mkdir()
    if content is not None:
        (broken / "run.json").write_bytes(content)
    (broken / "model.safetensors").write_bytes(b"half")
    assert runs.clear_broken() == [broken.name]
    assert [run.record.id for run in runs] == [whole.record.id]
    assert not broken.exists()


def test_what_the_report_needs_stays_and_weights_go(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    for n in range(5):
        run = runs.begin(record(1e9 + n))
        (run.path / "adapter").mkdir()
        (run.path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
        (run.path / "checkpoint.safetensors").write_bytes(b"weights")
        (run.path / "steps.jsonl").write_text("{}")
        run.finish("kept what serves", now=1e9)
    left = runs.begin(record(2e9))
    (left.path / "checkpoint.safetensors").write_bytes(b"weights")
    runs.prune(keep=2)
    assert [sorted(path.name for path in run.path.iterdir()) for run in runs.finished()] == [
        ["run.json", "steps.jsonl"]
    ] * 2
    assert (left.path / "checkpoint.safetensors").exists()
    assert runs.clear() == 3
    assert list(runs) == []


def test_no_half_record_is_ever_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while the record is replaced: the old one stays."""
    run = Runs(tmp_path).begin(record())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("local_runtime.durable_file.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        run.update(stage=Stage.GATE)
    found = read_record(run.path)
    assert found is not None
    assert found.stage is Stage.COLLECT
    assert run.record.stage is Stage.COLLECT
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


HOLDER = "from trainer.nightly.trainer_lock import trainer_lock\nwith trainer_lock():\n    print('held', flush=True)\n    input()\n"


@pytest.mark.e2e
def test_one_trainer_at_a_time_also_after_a_kill() -> None:
    assert trainer_pid() is None
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(TrainerBusy, match=f"another trainer is running: process {other.pid}"), trainer_lock():
            pass
        assert trainer_pid() == other.pid
        other.kill()
    with trainer_lock():
        pass
    assert trainer_pid() is None


LEAVER = (
    "import time\nfrom trainer.nightly.trainer_lock import trainer_lock, leave_if_wanted\nwith trainer_lock():\n    print('held', flush=True)\n"
    "    while True:\n        time.sleep(0.02)\n        leave_if_wanted()\n"
)


@pytest.mark.e2e
def test_whoever_trains_leaves_when_something_is_to_be_forgotten() -> None:
    leave_if_wanted()
    with subprocess.Popen([sys.executable, "-c", LEAVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stderr is not None
        assert other.stdout.readline() == b"held\n"
        with trainer_lock(wait_seconds=30):
            leave_if_wanted()  # the wish is fulfilled and gone
        assert LockWanted.__name__ in other.stderr.read().decode()


def test_the_wish_of_one_who_was_killed_ends_no_night() -> None:
    """`understudy forget` was killed while it waited: its file stays, and must not keep nights from running for good."""
    wanted = folder(wanted_path().parent) / wanted_path().name
    wanted.touch()
    with pytest.raises(LockWanted):
        leave_if_wanted()
    long_ago = time.time() - 60
    os.utime(wanted, (long_ago, long_ago))
    leave_if_wanted()


GHOST = (
    "import os, sys\nfrom trainer.nightly.trainer_lock import trainer_lock\nwith trainer_lock():\n    pid = os.fork()\n    if pid == 0:\n"
    "        sys.stdin.readline()\n        os._exit(0)\n    print('held', flush=True)\n    os.kill(os.getpid(), 9)\n"
)


@pytest.mark.e2e
def test_a_lock_that_outlives_its_holder_is_waited_for() -> None:
    """A killed parent's child still has it, for the moment between fork and exec."""
    with subprocess.Popen([sys.executable, "-c", GHOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        other.wait()
        threading.Timer(0.3, other.stdin.close).start()
        with trainer_lock():
            pass
