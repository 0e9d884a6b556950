"""When a night may begin: each reason against it by name."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from local_runtime.errors import BadRequest
from local_runtime.places import places
from trainer.collect.folders import LearnedFolders
from trainer.nightly import user_activity
from trainer.nightly.conditions import Against, Circumstances, is_night, refusals
from trainer.nightly.options import LearnOptions, read_options
from trainer.nightly.user_activity import UserActivity

THREE_AT_NIGHT = datetime(2026, 3, 3, 3).timestamp()
NOON = datetime(2026, 3, 3, 12).timestamp()
DAY = 86_400.0
GOOD = Circumstances(
    now=THREE_AT_NIGHT,
    glance=UserActivity(idle_seconds=3600),
    n_folders=1,
    n_new_edits=30,
    last_night=THREE_AT_NIGHT - DAY,
    load_per_core=0.1,
    free_memory_bytes=8 << 30,
    free_disk_bytes=100 << 30,
)


def against(**changes: object) -> list[Against]:
    return [one.against for one in refusals(replace(GOOD, **changes), LearnOptions())]  # type: ignore[arg-type]


def test_a_quiet_night_may_begin() -> None:
    assert against() == []


def test_a_rebuild_that_is_due_needs_no_new_edits() -> None:
    assert against(n_new_edits=0, is_rebuild_due=True) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"n_folders": 0}, Against.NO_FOLDER),
        ({"glance": UserActivity(3600, paused_until=THREE_AT_NIGHT + 60)}, Against.PAUSED),
        ({"last_night": THREE_AT_NIGHT - 3600}, Against.DONE_TONIGHT),
        ({"n_new_edits": 7}, Against.FEW_EDITS),
        ({"glance": UserActivity(idle_seconds=60)}, Against.ACTIVE),
        ({"glance": UserActivity(3600, on_mains=False)}, Against.BATTERY),
        ({"load_per_core": 0.9}, Against.LOAD),
        ({"free_memory_bytes": 1 << 30}, Against.MEMORY),
        ({"need_memory_bytes": 9 << 30}, Against.MEMORY),
        ({"free_disk_bytes": 1 << 20}, Against.DISK),
    ],
)
def test_each_reason_has_a_name_and_a_sentence(changes: dict[str, object], expected: Against) -> None:
    assert against(**changes) == [expected]
    (refusal,) = refusals(replace(GOOD, **changes), LearnOptions())  # type: ignore[arg-type]
    assert len(refusal.sentence) > 15


def test_noon_waits_for_the_night_but_a_missed_night_is_caught_up() -> None:
    assert against(now=NOON, last_night=NOON - DAY * 0.9) == [Against.HOUR]
    assert against(now=NOON, last_night=NOON - DAY * 2) == []
    # Outside its hours it wants to be surer that nobody is there.
    assert against(now=NOON, last_night=NOON - DAY * 2, glance=UserActivity(idle_seconds=20 * 60)) == [Against.ACTIVE]


def test_no_daemon_means_that_nobody_asks() -> None:
    assert against(glance=UserActivity(idle_seconds=None)) == []


def test_a_clock_that_went_backwards_silences_nothing() -> None:
    """The last night seems to lie in the future."""
    assert against(last_night=THREE_AT_NIGHT + 400 * DAY) == []


def test_the_hours_may_pass_midnight() -> None:
    late = LearnOptions(from_hour=22, until_hour=5)
    assert [is_night(datetime(2026, 1, 1, hour), late) for hour in (21, 22, 0, 4, 5)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert is_night(datetime(2026, 1, 1, 12), LearnOptions(from_hour=0, until_hour=0))


def test_options_come_from_the_config_file_and_say_what_is_wrong(home: Path) -> None:
    assert read_options() == LearnOptions()
    places().config.mkdir(parents=True)
    places().config_file.write_text("[runtime]\nidle_minutes = 5\n[learn]\nfrom_hour = 23\n")
    assert read_options().from_hour == 23
    for wrong in ("[learn]\nfrom_hour = 25\n", "[learn]\nfrom_huor = 2\n", "[learn\n"):
        places().config_file.write_text(wrong)
        with pytest.raises(BadRequest, match=r"config\.toml"):
            read_options()


def test_a_pause_has_an_end_or_none() -> None:
    folders = LearnedFolders()
    assert user_activity.paused_until(folders, 1.0) == 0
    folders.pause(5.0)
    assert user_activity.paused_until(folders, 1.0) == 5.0
    assert user_activity.paused_until(folders, 6.0) == 0
    folders.pause()
    assert user_activity.paused_until(folders, 1e12) == math.inf
    endless = UserActivity(3600, paused_until=math.inf)
    assert against(glance=endless) == [Against.PAUSED]


def test_machines_without_a_battery_are_on_mains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_activity.psutil, "sensors_battery", lambda: None, raising=False)
    assert user_activity.on_mains()
    monkeypatch.delattr(user_activity.psutil, "sensors_battery")
    assert user_activity.on_mains()
