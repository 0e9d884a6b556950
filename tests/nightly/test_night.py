"""Whole nights on a tiny model that is really trained, compiled, judged through the daemon, and served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from night_worlds import AWAY, BEGAN, NOUNS, VERBS, adapter_bytes, finished, handler, learn_from

from local_runtime.client.client import Client
from local_runtime.places import places
from local_runtime.prompts.hole import Hole
from trainer import forgetting
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal
from trainer.edits import EditEvent, Origin
from trainer.forget_command import forget
from trainer.nightly import interruptible_judge
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Reason, Runs, Stage
from trainer.nightly.user_activity import UserActivity

pytestmark = pytest.mark.e2e

OPTIONS = LearnOptions(threads=1)
STEPS = 6


def night(max_steps: int = STEPS, **changes: object) -> Night:
    return Night(OPTIONS, lambda: AWAY, max_steps=max_steps, **changes)  # type: ignore[arg-type]


def versions() -> Versions:
    return Versions(base_hash=served_model().base_hash)


@pytest.mark.slow
def test_a_night_learns_proves_it_and_serves(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next nights: nothing new, then warm from what serves."""
    monkeypatch.setattr(interruptible_judge, "TELL_SECONDS", 0.1)
    learn_from(tmp_path / "shop")
    record, events = finished(night(max_steps=60).events())
    assert record.promoted
    assert record.reason is Reason.FIRST
    assert versions().current().name == "personal-1"
    assert {event.stage for event in events} == set(Stage)
    assert [event.step for event in events if event.step] == list(range(1, 61))
    asked = [(event.done, event.total) for event in events if event.stage is Stage.GATE and event.done]
    assert asked == sorted(asked)
    assert all(done <= total for done, total in asked if total)
    assert len(asked) > 2
    with Client("tests") as client:
        said = client.complete(Hole("shop/new.py", "python", handler("parcel", "send")[:-30], ""))
        assert said.adapter_id == versions().adapter("personal-1").id
    (run,) = Runs(places().data / "runs").finished()
    assert not list(run.path.glob("**/*.safetensors"))
    assert not list(run.path.glob("*.part*"))
    assert not (run.path / "train.jsonl").exists()

    record, _ = finished(night().events())
    assert record.outcome == "nothing new was saved since the last night"
    journal = Journal()
    late = BEGAN + 1e6
    journal.add(
        [EditEvent(f"{tmp_path}/shop/x.py", f"{tmp_path}/shop", "python", "", handler("x", "y"), late, Origin.SAVE)]
    )
    journal.close()
    record, _ = finished(night().events())
    assert record.reason is Reason.WARM
    assert record.parent == "personal-1"
    assert versions().current().name is not None


def test_a_killed_night_is_taken_up_and_ends_as_if_it_had_not_been(world: Path, tmp_path: Path) -> None:
    """`understudy learn now` is killed -9 in the middle of training; its child ends, too; the next night goes on."""
    learn_from(tmp_path / "shop", NOUNS[:5], VERBS[:5])
    whole, _ = finished(night().events())
    assert whole.candidate is not None
    expected = adapter_bytes(whole.candidate)
    versions().delete([whole.candidate])
    Runs(places().data / "runs").clear()

    command = "from local_runtime.cli.command import main; main()"
    arguments = ["learn", "now", "--steps", str(STEPS)]
    (places().config).mkdir(parents=True, exist_ok=True)
    places().config_file.write_text("[learn]\nthreads = 1\n")
    with subprocess.Popen([sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "training from" in line:
                break
        os.kill(running.pid, signal.SIGKILL)
    left = Runs(places().data / "runs").unfinished()
    assert left is not None
    assert left.record.stage is Stage.TUNE
    assert versions().current().name is None

    record, events = finished(night().events())
    assert f"taking up the night of {left.record.id}" in events[0].text
    assert record.id == left.record.id
    assert record.candidate == whole.candidate
    assert adapter_bytes(record.candidate) == expected


def test_forgetting_equals_never_having_seen(world: Path, tmp_path: Path) -> None:
    """Bit for bit: a rebuild after `forget`, and a rebuild of a journal without it."""
    shop = tmp_path / "shop"
    nouns, verbs = NOUNS[:5], VERBS[:5]
    learn_from(shop, [noun for noun in nouns if noun != "voucher"], verbs)
    never, _ = finished(night(asked=Reason.ASKED).events())
    assert never.candidate is not None
    expected = adapter_bytes(never.candidate)
    for part in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"):
        (places().data / part).unlink(missing_ok=True)

    learn_from(shop, nouns, verbs)
    seen, _ = finished(night(asked=Reason.ASKED).events())
    assert seen.candidate is not None
    assert adapter_bytes(seen.candidate) != expected
    forgotten = forgetting.forget(shop / "voucher.py")
    assert forgotten.n_edits == len(verbs)
    assert forgotten.n_adapters == 2
    assert forgotten.n_runs == 2
    assert forgotten.daemon_ended
    assert not list(places().adapters.glob("**/adapter_model.safetensors"))
    again, _ = finished(night(asked=Reason.FORGET).events())
    assert again.candidate is not None
    assert adapter_bytes(again.candidate) == expected
    everything = b"".join(
        path.read_bytes() for path in world.rglob("*") if path.is_file() and "models" not in path.parts
    )
    assert b"voucher" not in everything


def test_the_user_comes_back_and_the_training_stands_still(world: Path, tmp_path: Path) -> None:
    learn_from(tmp_path / "shop", NOUNS[:5], VERBS[:5])
    glances = iter([AWAY, AWAY, AWAY, UserActivity(0.0), UserActivity(0.1), UserActivity(61.0)])
    one = Night(OPTIONS, lambda: next(glances, AWAY), max_steps=STEPS)
    record, events = finished(one.events())
    stands = [event for event in events if event.paused]
    assert [event.text for event in stands] == ["it stands still: you are typing"]
    assert all(event.reaction_seconds < 2 for event in stands)
    assert [event.text for event in events].count("it goes on") == 1
    assert record.paused_seconds > 0
    assert not record.failed


def priorities() -> set[tuple[int, object]]:
    """Of each thread of the training process: its niceness, and with Linux the process's turn at the disk."""
    (child,) = [one for one in psutil.Process().children() if "trainer.nightly.learning_process" in one.cmdline()]
    at_disk = child.ionice().ioclass if sys.platform == "linux" else None
    threads = [thread.id for thread in child.threads()] if sys.platform == "linux" else [child.pid]
    return {(os.getpriority(os.PRIO_PROCESS, thread), at_disk) for thread in threads}


def test_training_takes_what_others_leave_also_when_it_is_taken_up(world: Path, tmp_path: Path) -> None:
    learn_from(tmp_path / "shop", NOUNS[:5], VERBS[:5])
    lowest = {(19, psutil.IOPRIO_CLASS_IDLE if sys.platform == "linux" else None)}
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    for step in (1, 3):  # the second night takes up what the first one left
        with closing(night(max_steps=60).events()) as events:
            assert any(event.step is not None and event.step >= step for event in events)
            assert priorities() == lowest
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine < 19


def test_forgetting_later_rebuilds_what_forgetting_now_does(world: Path, tmp_path: Path) -> None:
    """`understudy forget --later`, and the next night by itself: the rebuild's recipe and mix, the very same adapter."""
    shop = tmp_path / "shop"
    learn_from(shop, NOUNS[:4], VERBS[:4])
    finished(night(max_steps=2).events())
    said = CliRunner().invoke(forget, [str(shop / "voucher.py"), "--yes", "--later"], catch_exceptions=False)
    assert "The next night rebuilds the adapter" in said.output
    later, _ = finished(night(max_steps=2).events())
    assert (later.reason, later.preset) == (Reason.FORGET, "rebuild")
    assert later.candidate is not None
    expected = adapter_bytes(later.candidate)

    forgetting.forget(shop / "voucher.py")  # again: the adapter is gone, the journal is what it was
    now, _ = finished(night(max_steps=2, asked=Reason.FORGET).events())
    assert now.preset == later.preset
    assert now.candidate is not None
    assert adapter_bytes(now.candidate) == expected
    assert finished(night(max_steps=2).events())[0].reason is Reason.FIRST  # nothing is owed any more
