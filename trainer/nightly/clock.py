"""The clock: looks once a minute whether a night may begin, and remembers why it did not.

`python -m trainer.nightly` and `understudy learn watch` run it beside the watcher, in one process that needs no torch.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import msgspec

from local_runtime.durable_file import write_durably
from local_runtime.errors import RuntimeFault
from local_runtime.places import folder, places
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal, default_path
from trainer.nightly.conditions import (
    Against,
    Circumstances,
    Refusal,
    free_memory_bytes,
    load_per_core,
    machine_refusals,
    refusals,
)
from trainer.nightly.events import Event, sparingly
from trainer.nightly.options import LearnOptions
from trainer.nightly.rebuild_owed import is_rebuild_owed
from trainer.nightly.runs import Record, Runs
from trainer.nightly.user_activity import UserActivity

log = logging.getLogger("understudy.learn")
LOOK_SECONDS = 60.0
FAULTS = (RuntimeFault, OSError, sqlite3.Error)
"""What a night, or a look, may meet and another one need not."""
_NO_LEISURE = frozenset({Against.PAUSED, Against.ACTIVE, Against.LOAD, Against.BATTERY, Against.MEMORY, Against.DISK})
"""What speaks against any work at all now, and not against a night alone."""


class Review(Protocol):
    """Looks whether what serves has declined, and rolls it back; see `trainer.nightly.review.Reviewer`."""

    def __call__(self, *, at_leisure: bool) -> str | None:
        """The reason, if it was rolled back."""
        ...


class Waits(msgspec.Struct, frozen=True):
    """What the clock remembers."""

    sentences: list[str] = []
    """What spoke against a night at the last look."""
    counts: dict[str, int] = {}
    """How many looks each reason stood against a night, ever."""


@dataclass(slots=True)
class Clock:
    """Decides when; `night` does the rest. The looks at the world are arguments, so that tests need no night."""

    options: LearnOptions
    look: Callable[[], UserActivity]
    night: Callable[[], Iterator[Event]]
    now: Callable[[], float] = time.time
    review: Review | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look, and train when the time has come, until `stop` is set."""
        while not self.stop.is_set():
            self.tick()
            self.stop.wait(LOOK_SECONDS)

    def tick(self) -> bool:
        """One look; whether a night was run. What goes wrong in it is logged, and tried again another night."""
        try:
            against = against_a_night(self.now(), self.look(), self.options)
            remember(against)
        except FAULTS as problem:
            log.error("%s", problem)
            return False
        if against:
            self._review({refusal.against for refusal in against})
            return False
        events = self.night()
        try:
            for event in sparingly(events):
                log.info("%s: %s", event.stage.value, event.text)
                if self.stop.is_set():
                    break
        except FAULTS as problem:
            log.error("%s", problem)
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
        return True

    def _review(self, against: Collection[Against]) -> None:
        """Between nights; a night looks by itself. What goes wrong in it is logged, and tried again later."""
        if self.review is None:
            return
        try:
            if (declined := self.review(at_leisure=_NO_LEISURE.isdisjoint(against))) is not None:
                log.warning("what served is rolled back: %s", declined)
        except FAULTS as problem:
            log.error("what serves could not be reviewed: %s", problem)


def against_a_night(now: float, glance: UserActivity, options: LearnOptions) -> list[Refusal]:
    """Everything that speaks against a night now. The journal is only opened when nothing else does: opening checks it."""
    seen = circumstances(now, glance)
    if seen.n_folders and Runs(places().data / "runs").unfinished() is not None:
        # One that was cut off is gone on with as soon as the machine is free.
        paused = glance.paused_until > now
        return [*refusals(seen, options)] if paused else [*machine_refusals(seen, options)]
    if against := [*refusals(replace(seen, n_new_edits=options.min_new_edits), options)]:
        return against
    return [*refusals(replace(seen, n_new_edits=n_new_edits(now), is_rebuild_due=is_rebuild_due()), options)]


def circumstances(now: float, glance: UserActivity) -> Circumstances:
    """The state of this machine, without what is in the journal."""
    data = folder(places().data)
    ended = [run.record for run in Runs(data / "runs").finished()]
    return Circumstances(
        now=now,
        glance=glance,
        n_folders=len(LearnedFolders().all()),
        n_new_edits=0,
        last_night=max((record.ended or record.began for record in ended), default=0.0),
        load_per_core=load_per_core(),
        free_memory_bytes=free_memory_bytes(),
        free_disk_bytes=shutil.disk_usage(data).free,
        need_memory_bytes=next((one.peak_memory_bytes for one in reversed(ended) if not one.failed), 0),
    )


def n_new_edits(now: float) -> int:
    """Edits in the journal since the last night that did not fail.

    A night that seems to lie in the future was before the clock was set back: it tells nothing of what is new.
    """
    path = default_path()
    if not path.exists():
        return 0
    since = max((record.began for record in _ended_well() if record.began <= now), default=0.0)
    files = (path, path.with_name(path.name + "-wal"))
    stamps = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists())
    return _count(path, since, stamps)


def is_rebuild_due() -> bool:
    """Whether something was forgotten, or the base changed: nights have ended well, but none with the model that serves now."""
    from trainer.adapters.serving import served_model  # noqa: PLC0415 - most looks of `learn status` need no model

    if is_rebuild_owed():
        return True
    learnt_for = {record.base_hash for record in _ended_well()}
    try:
        return bool(learnt_for) and served_model().base_hash not in learnt_for
    except RuntimeFault:  # without a model a night is not worth it; one with new edits says so
        return False


def _ended_well() -> list[Record]:
    return [run.record for run in Runs(places().data / "runs").finished() if not run.record.failed]


@lru_cache(maxsize=1)
def _count(path: Path, since: float, stamps: tuple[tuple[int, int], ...]) -> int:
    """`stamps` say whether the journal has changed since it was counted."""
    with closing(Journal(path)) as journal:
        return journal.count(since)


def remember(against: Sequence[Refusal]) -> None:
    """Keep why no night began, for `learn status` and the report."""
    known = remembered()
    counts = dict(known.counts)
    for refusal in against:
        counts[refusal.against.value] = counts.get(refusal.against.value, 0) + 1
    waits_now = Waits([refusal.sentence for refusal in against], counts)
    write_durably(_path(), msgspec.json.encode(waits_now))


def remembered() -> Waits:
    """What the clock remembers; nothing if it cannot be read."""
    try:
        return msgspec.json.decode(_path().read_bytes(), type=Waits)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Waits()


def waits() -> dict[str, int]:
    """How often each reason stood against a night."""
    return remembered().counts


def _path() -> Path:
    return places().data / "learn-clock.json"
