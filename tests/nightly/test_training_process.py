"""The training process under its parent's hand: stopped, continued, ended; no orphan, no lost word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from local_runtime.errors import OutOfMemory, RuntimeFault
from trainer.nightly import training_process
from trainer.nightly.training_process import Paused, ProcessDied, Step, TrainingProcess
from trainer.nightly.user_activity import Patience, UserActivity

pytestmark = pytest.mark.e2e

COUNTING = """
    import json, os, sys, threading, time
    pipe = os.fdopen(int(sys.argv[-1]), "w", buffering=1)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(70)), daemon=True).start()
    for step in range(1, N + 1):
        print(json.dumps({"type": "step", "step": step, "n_steps": N, "loss": 1 / step}), file=pipe)
        time.sleep(0.05)
    print(json.dumps({"type": "done"}), file=pipe)
"""


def child(tmp_path: Path, program: str, must_stand: object = lambda: None, **kwargs: object) -> TrainingProcess:
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(program))
    options: dict[str, object] = {"threads": 1, "memory_cap_bytes": 1 << 40} | kwargs
    return TrainingProcess([sys.executable, str(script)], tmp_path / "log", must_stand=must_stand, **options)  # type: ignore[arg-type]


def test_all_words_arrive(tmp_path: Path) -> None:
    process = child(tmp_path, COUNTING.replace("N", "5"))
    words = list(process.words())
    assert [word.step for word in words if isinstance(word, Step)] == [1, 2, 3, 4, 5]
    assert process.pid is None


def test_the_child_stands_still_within_two_seconds_and_loses_nothing(tmp_path: Path) -> None:
    reasons = iter([None, "you are typing", "you are typing"])
    process = child(tmp_path, COUNTING.replace("N", "60"), lambda: next(reasons, None))
    words = []
    for word in process.words():
        words.append(word)
        if isinstance(word, Paused) and word.reason:
            assert word.reaction_seconds < 2
            assert process.pid is not None
            assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
    assert [word.step for word in words if isinstance(word, Step)] == list(range(1, 61))
    assert [word.reason for word in words if isinstance(word, Paused)] == ["you are typing", None]
    assert process.costs.paused_seconds > 0


def test_closing_the_words_ends_a_child_that_stands_still(tmp_path: Path) -> None:
    process = child(tmp_path, COUNTING.replace("N", "1000"), lambda: "you are typing")
    words = process.words()
    while not isinstance(next(words), Paused):
        pass
    pid = process.pid
    words.close()  # type: ignore[attr-defined]
    assert pid is not None
    assert not psutil.pid_exists(pid)


def placed(holds_memory: bool) -> str:
    """A child that counts, and says first whether it keeps memory from its user."""
    word = '{"type": "placed", "device": "any", "holds_memory": ' + str(holds_memory).lower() + "}"
    return COUNTING.replace("for step", f"print({word!r}, file=pipe)\n    for step").replace("N", "30")


@pytest.mark.parametrize(("holds_memory", "n_lives"), [(True, 2), (False, 1)])
def test_memory_of_an_accelerator_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds_memory: bool, n_lives: int
) -> None:
    """The child is ended after a while, and begins again when the user is away: it resumes by itself."""
    monkeypatch.setattr(training_process, "GIVE_BACK_SECONDS", 0.1)
    reasons = iter(["you are typing"] * 4)
    process = child(tmp_path, placed(holds_memory), lambda: next(reasons, None))
    pids = set()
    for word in process.words():
        pids.add(process.pid)
        last = word
    assert isinstance(last, Step)
    assert last.step == 30
    assert len(pids - {None}) == n_lives


def test_a_childs_fault_becomes_ours(tmp_path: Path) -> None:
    told = """
        import json, os, sys
        print(json.dumps({"type": "fault", "message": "the loss became NaN at step 3", "remedy": "a lower rate"}),
              file=os.fdopen(int(sys.argv[-1]), "w"))
    """
    with pytest.raises(RuntimeFault, match="NaN at step 3"):
        list(child(tmp_path, told).words())


def test_a_child_that_dies_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match="ZeroDivisionError"):
        list(child(tmp_path, "1 / 0").words())
    with pytest.raises(RuntimeFault, match="was killed"):
        list(child(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").words())


def test_a_child_that_falls_silent_and_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has closed its pipe, so that nothing is to be waited for; a machine without memory may take long to end it."""
    monkeypatch.setattr(training_process, "END_SECONDS", 0.2)
    silent = child(tmp_path, "import os, sys, time; os.close(int(sys.argv[-1])); time.sleep(60)")
    with pytest.raises(ProcessDied, match="ended without a result: it fell silent"):
        list(silent.words())
    assert silent.pid is None


def test_a_child_beyond_its_cap_is_ended(tmp_path: Path) -> None:
    process = child(tmp_path, "x = bytearray(64 << 20)\nimport time\ntime.sleep(60)", memory_cap_bytes=32 << 20)
    with pytest.raises(OutOfMemory, match="more than its cap of 32 MB"):
        list(process.words())
    assert process.pid is None


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_parent_leaves_no_orphan(tmp_path: Path, stopped: bool) -> None:
    """Also when the child stands still at that moment."""
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(COUNTING.replace("N", "10000")))
    parent = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from trainer.nightly.training_process import TrainingProcess, Paused
        process = TrainingProcess([sys.executable, {str(script)!r}], Path({str(tmp_path / "log")!r}), threads=1,
                                  must_stand=lambda: {"'typing'" if stopped else "None"}, memory_cap_bytes=1 << 40)
        for word in process.words():
            print(process.pid, isinstance(word, Paused), flush=True)
    """)
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            pid, stands = line.split()
            if not stopped or stands == "True":
                break
        os.kill(running.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(int(pid)) and time.monotonic() < deadline:
        if psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE:
            break  # ended; only nobody has looked yet
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(int(pid))


def test_patience_yields_to_new_requests_and_waits_until_the_user_is_away() -> None:
    now = [0.0]
    glance = [UserActivity(idle_seconds=3.0)]
    patience = Patience(lambda: glance[0], resume_seconds=60, clock=lambda: now[0], monotonic=lambda: now[0])

    def after(seconds: float, idle: float | None, **changes: object) -> str | None:
        now[0] += seconds
        glance[0] = UserActivity(idle, **changes)  # type: ignore[arg-type]
        return patience.reason()

    assert after(0.5, idle=3.5) is None  # an old request was known when training began
    assert after(0.5, idle=0.1) == "you are typing"
    assert after(30, idle=30.1) == "you are typing"  # not yet really away
    assert after(31, idle=61.1) is None
    assert after(0.5, idle=None) is None  # no daemon: nobody can be asking it
    assert after(0.5, idle=None, on_mains=False) == "the machine runs on battery"
    assert after(0.5, idle=None, paused_until=now[0] + 10) == "you asked for a pause"
