"""The clock: it looks, remembers why it does not begin, runs a night when the time has come, and survives a bad one."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_model
from night_worlds import AWAY, BEGAN, learn_from

from local_runtime.errors import RuntimeFault
from local_runtime.places import places
from trainer.adapters.serving import served_model
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.edits import EditEvent
from trainer.nightly import clock as clocks
from trainer.nightly.clock import Clock, against_a_night, remembered, waits
from trainer.nightly.conditions import Against
from trainer.nightly.events import Event
from trainer.nightly.options import LearnOptions
from trainer.nightly.rebuild_owed import owe_rebuild
from trainer.nightly.runs import Reason, Record, Runs, Stage
from trainer.nightly.user_activity import UserActivity

ANY_HOUR = LearnOptions(from_hour=0, until_hour=0, min_free_mb=0, max_load=1e9)
NOW = BEGAN + 1e7


def a_night() -> Iterator[Event]:
    yield Event(Stage.DONE, "done")


def clock(look: UserActivity = AWAY, night: object = a_night, now: float = NOW) -> Clock:
    return Clock(ANY_HOUR, lambda: look, night, lambda: now)  # type: ignore[arg-type]


def a_night_has_ended(base_hash: str) -> None:
    record = Record(id="", reason=Reason.FIRST, model="m", base_hash=base_hash, began=NOW - 90_000)
    Runs(places().data / "runs").begin(record).finish("done", NOW - 90_000)


def test_without_a_folder_it_waits_and_says_why() -> None:
    assert not clock().tick()
    assert "no folder has been named" in remembered().sentences[0]
    assert waits()["no folder"] == 1


def test_with_enough_new_edits_and_nobody_there_it_begins(tmp_path: Path) -> None:
    learn_from(tmp_path / "shop")
    assert not clock(UserActivity(idle_seconds=5.0)).tick()
    assert waits() == {"active": 1}
    assert clock().tick()
    assert remembered().sentences == []


def test_a_night_without_new_edits_is_left_out(tmp_path: Path) -> None:
    tiny_model.choose()
    learn_from(tmp_path / "shop")
    a_night_has_ended(base_hash=served_model().base_hash)
    assert [refusal.against for refusal in against_a_night(NOW, AWAY, ANY_HOUR)] == [Against.FEW_EDITS]
    journal = Journal()
    root = f"{tmp_path}/shop"
    journal.add(EditEvent(f"{root}/late{n}.py", root, "python", "", f"late = {n}\n", NOW - 60) for n in range(9))
    journal.close()
    assert against_a_night(NOW, AWAY, ANY_HOUR) == []


def test_what_was_forgotten_and_another_base_are_worth_a_night_without_new_edits(tmp_path: Path) -> None:
    tiny_model.choose()
    learn_from(tmp_path / "shop")
    a_night_has_ended(base_hash="another")
    assert against_a_night(NOW, AWAY, ANY_HOUR) == []
    a_night_has_ended(base_hash=served_model().base_hash)
    assert [refusal.against for refusal in against_a_night(NOW, AWAY, ANY_HOUR)] == [Against.FEW_EDITS]
    owe_rebuild()
    assert against_a_night(NOW, AWAY, ANY_HOUR) == []


def test_a_clock_that_was_set_back_silences_no_night(tmp_path: Path) -> None:
    """The last night seems to lie a year ahead: what was saved since is not older than it."""
    learn_from(tmp_path / "shop")
    run = Runs(places().data / "runs").begin(
        Record(id="", reason=Reason.FIRST, model="m", base_hash="b", began=NOW + 3e7)
    )
    run.finish("done", NOW + 3e7)
    assert against_a_night(NOW, AWAY, ANY_HOUR) == []


def test_a_night_needs_what_the_last_one_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not what one took that failed for taking too much."""
    learn_from(tmp_path / "shop")
    monkeypatch.setattr(clocks, "free_memory_bytes", lambda: 3 << 30)
    monkeypatch.setattr(clocks, "n_new_edits", lambda now: 100)
    runs = Runs(places().data / "runs")
    for peak_gb, failed, against in ((2, False, []), (4, True, []), (4, False, [Against.MEMORY])):
        run = runs.begin(Record(id="", reason=Reason.FIRST, model="m", base_hash="b", began=NOW - 90_000))
        run.update(peak_memory_bytes=peak_gb << 30)
        run.finish("done", NOW - 90_000, failed=failed)
        assert [refusal.against for refusal in against_a_night(NOW, AWAY, ANY_HOUR)] == against


def test_a_night_that_was_cut_off_is_gone_on_with_at_once(tmp_path: Path) -> None:
    learn_from(tmp_path / "shop")
    Runs(places().data / "runs").begin(Record(id="", reason=Reason.FIRST, model="m", base_hash="b", began=NOW - 60))
    tight = LearnOptions(from_hour=3, until_hour=4, min_free_mb=0, max_load=1e9, min_new_edits=10_000)
    assert against_a_night(NOW, AWAY, tight) == []
    assert [r.against for r in against_a_night(NOW, UserActivity(1.0), tight)] == [Against.ACTIVE]
    LearnedFolders().pause()
    paused = UserActivity(None, paused_until=NOW + 60)
    assert Against.PAUSED in [r.against for r in against_a_night(NOW, paused, tight)]


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeFault("another trainer is running"),
        OSError(28, "No space left on device"),
        sqlite3.DatabaseError("database disk image is malformed"),
    ],
)
def test_a_night_that_fails_is_logged_and_the_clock_goes_on(
    fault: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learn_from(tmp_path / "shop")

    def bad() -> Iterator[Event]:
        yield Event(Stage.COLLECT, "begins")
        raise fault

    one = clock(night=bad)
    assert one.tick()
    assert str(fault) in caplog.text
    assert one.tick()


def test_it_stops_in_the_middle_of_a_night_and_closes_it(tmp_path: Path) -> None:
    learn_from(tmp_path / "shop")
    closed = threading.Event()

    def long() -> Iterator[Event]:
        try:
            for step in range(1000):
                one.stop.set()
                yield Event(Stage.TUNE, f"step {step}")
        finally:
            closed.set()

    one = clock(night=long)
    one.run()
    assert closed.is_set()


def test_a_damaged_memory_is_begun_anew() -> None:
    clock().tick()
    (places().data / "learn-clock.json").write_bytes(b"{")
    assert waits() == {}
    clock().tick()
    assert waits()["no folder"] == 1
    assert clocks.LOOK_SECONDS >= 30  # it costs next to nothing


def test_a_full_disk_does_not_end_the_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock cannot even remember why it waits; it looks again a minute later."""

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(clocks, "write_durably", full)
    assert not clock().tick()


@pytest.mark.parametrize(
    ("glance", "at_leisure"),
    [
        (AWAY, True),
        (UserActivity(1.0), False),
        (UserActivity(None, on_mains=False), False),
        (UserActivity(None, paused_until=2e9), False),
    ],
)
def test_between_nights_it_looks_whether_what_serves_has_declined(
    glance: UserActivity, at_leisure: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a person there, or on battery, no questions are asked; before a night, the night itself looks."""
    asked: list[bool] = []

    def review(*, at_leisure: bool) -> str | None:
        asked.append(at_leisure)
        return "it was worse"

    day = LearnOptions(from_hour=3, until_hour=3, min_new_edits=10_000, min_free_mb=0, max_load=1e9)
    one = Clock(day, lambda: glance, a_night, lambda: NOW, review)
    assert not one.tick()
    assert asked == [at_leisure]
    assert "what served is rolled back: it was worse" in caplog.text
    learn_from(tmp_path / "shop")
    night = Clock(ANY_HOUR, lambda: AWAY, a_night, lambda: NOW, lambda **_: pytest.fail("the night looks by itself"))
    assert night.tick()


@pytest.mark.parametrize("fault", [RuntimeFault("no model"), OSError(5, "broken"), sqlite3.DatabaseError("malformed")])
def test_a_look_that_fails_is_logged_and_the_clock_goes_on(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def review(*, at_leisure: bool) -> str | None:
        raise fault

    one = Clock(ANY_HOUR, lambda: AWAY, a_night, lambda: NOW, review)
    assert not one.tick()
    assert not one.tick()
    assert str(fault) in caplog.text
