"""Whether a night may begin: every reason against it has a name and a sentence. Pure, but for `look`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import psutil

from trainer.nightly.options import LearnOptions
from trainer.nightly.user_activity import UserActivity

NIGHT_SECONDS = 86_400.0
MISSED_SECONDS = 1.25 * NIGHT_SECONDS
"""After this long without a night one was missed, and is caught up at any hour at which the machine is idle."""
CATCH_UP_IDLE_FACTOR = 2.0
"""Outside the night's hours the user must have been away for this many times longer."""


class Against(StrEnum):
    """What speaks against a night now."""

    NO_FOLDER = "no folder"
    PAUSED = "paused"
    HOUR = "hour"
    DONE_TONIGHT = "done tonight"
    FEW_EDITS = "few edits"
    ACTIVE = "active"
    LOAD = "load"
    BATTERY = "battery"
    MEMORY = "memory"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason against a night, in a sentence for the user."""

    against: Against
    sentence: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything that the decision depends on."""

    now: float
    """Unix time, seconds."""
    glance: UserActivity
    n_folders: int
    n_new_edits: int
    """Saved since the last night."""
    last_night: float
    """Unix time at which the last one ended, or learning was switched on; 0 for never."""
    load_per_core: float
    free_memory_bytes: int
    free_disk_bytes: int
    need_memory_bytes: int = 0
    """What the last night that did not fail took at most; 0 if there was none."""
    need_disk_bytes: int = 1 << 30
    is_rebuild_due: bool = False
    """Something was forgotten, or the base changed: that is worth a night without any new edit."""


def refusals(seen: Circumstances, options: LearnOptions) -> Iterator[Refusal]:
    """All reasons against a night now, the user's own first; none: it may begin."""
    if not seen.n_folders:
        yield Refusal(Against.NO_FOLDER, "no folder has been named: understudy learn on PATH")
    if seen.glance.paused_until > seen.now:
        end = seen.glance.paused_until
        until = "" if math.isinf(end) else f" until {datetime.fromtimestamp(end).strftime('%d %b %H:%M')}"
        yield Refusal(Against.PAUSED, f"paused{until}: understudy learn resume")
    # A clock that went backwards must not silence the trainer until the old time comes again.
    last_night = min(seen.last_night, seen.now)
    caught_up = seen.now - last_night > MISSED_SECONDS
    at_night = is_night(datetime.fromtimestamp(seen.now), options)
    if not at_night and not caught_up:
        yield Refusal(Against.HOUR, f"it trains between {options.from_hour:02}:00 and {options.until_hour:02}:00")
    if 0 < seen.now - last_night < NIGHT_SECONDS / 2 and last_night > 0:
        yield Refusal(Against.DONE_TONIGHT, f"the last night ended {_hours(seen.now - last_night)} ago")
    if seen.n_new_edits < options.min_new_edits and not seen.is_rebuild_due:
        yield Refusal(
            Against.FEW_EDITS, f"{seen.n_new_edits} new edits; at least {options.min_new_edits} are worth a night"
        )
    yield from machine_refusals(seen, options, away_factor=1.0 if at_night else CATCH_UP_IDLE_FACTOR)


def machine_refusals(
    seen: Circumstances, options: LearnOptions, away_factor: float = 1.0, *, asked: bool = False
) -> Iterator[Refusal]:
    """What speaks against training on this machine now; `asked`: the user is there and wants it."""
    idle, wanted = seen.glance.idle_seconds, options.idle_minutes * 60 * away_factor
    if not asked and idle is not None and idle < wanted:
        yield Refusal(
            Against.ACTIVE, f"you were active {_minutes(idle)} ago; it waits until you are away for {_minutes(wanted)}"
        )
    if not asked and seen.load_per_core > options.max_load:
        yield Refusal(Against.LOAD, f"the machine is busy: load {seen.load_per_core:.1f} per core")
    if not asked and not seen.glance.on_mains:
        yield Refusal(Against.BATTERY, "the machine runs on battery")
    need = max(options.min_free_mb << 20 if not asked else 0, seen.need_memory_bytes)
    if seen.free_memory_bytes < need:
        yield Refusal(
            Against.MEMORY, f"{seen.free_memory_bytes >> 20:,} MB of memory are free; training needs {need >> 20:,} MB"
        )
    if seen.free_disk_bytes < seen.need_disk_bytes:
        yield Refusal(
            Against.DISK,
            f"{seen.free_disk_bytes >> 20:,} MB are free on the disk; a run needs up to {seen.need_disk_bytes >> 20:,} MB",
        )


def is_night(now: datetime, options: LearnOptions) -> bool:
    """Whether a local time lies in the night's hours, which may pass midnight."""
    first, last = options.from_hour, options.until_hour
    if first == last:
        return True
    return first <= now.hour < last if first < last else now.hour >= first or now.hour < last


def load_per_core() -> float:
    """The load average of the last minute, per core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def free_memory_bytes() -> int:
    """What could be taken without swapping."""
    return int(psutil.virtual_memory().available)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _hours(seconds: float) -> str:
    return _minutes(seconds) if seconds < 5400 else f"{seconds / 3600:.0f} h"
