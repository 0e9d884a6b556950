"""Before a new night, and by day: whether what serves has declined since it was promoted. If so, what served before serves again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace

from local_runtime.adapters.shelf import memory_file
from local_runtime.records.outcomes import database, read_outcomes
from trainer.adapters.shadow import decline_in_use, roll_back_if_declined
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal, default_path
from trainer.edits import Example
from trainer.examples.dataset import held_out_examples
from trainer.gate.judge import Judge
from trainer.gate.pool import hunk_of
from trainer.gate.thresholds import THRESHOLDS, Thresholds
from trainer.nightly.trainer_lock import TrainerBusy, trainer_lock

OUTCOME_DAYS = 30
LOOK_SECONDS = 3600.0
OpenJudge = Callable[[], AbstractContextManager[Judge]]


@dataclass(slots=True)
class Reviewer:
    """The look by day: about once an hour, if something is new that could speak against what serves."""

    open_versions: Callable[[], Versions]
    open_judge: OpenJudge
    now: Callable[[], float] = time.time
    _looked_at: float = -math.inf
    _seen: dict[bool, tuple[int, ...]] = field(default_factory=dict)

    def __call__(self, *, at_leisure: bool) -> str | None:
        """The reason for which what served was rolled back, if it was.

        `at_leisure`: the machine is nobody's, so that questions may be asked; else only what the user did with suggestions counts.
        """
        now = self.now()
        if 0 <= now - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = now
        new = _stamps(at_leisure)
        if not memory_file().exists() or new == self._seen.get(at_leisure):
            return None
        thresholds = replace(THRESHOLDS, rollback_confidence=THRESHOLDS.rollback_confidence_by_day)
        try:
            with trainer_lock():
                declined = review(self.open_versions(), self.open_judge if at_leisure else None, thresholds)
        except TrainerBusy:
            return None  # whoever trains has looked, or will
        self._seen[at_leisure] = new
        return declined


def review(versions: Versions, open_judge: OpenJudge | None, thresholds: Thresholds = THRESHOLDS) -> str | None:
    """The reason for which what served was rolled back, if it was.

    The judge is opened only when there is enough to ask; None: it is not asked at all. The caller holds the trainer lock.
    """
    serving = versions.current()
    if serving.name is None:
        return None
    outcomes = read_outcomes(database(), time.time() - OUTCOME_DAYS * 86_400)
    since = _saved_since(versions, serving.name) if open_judge is not None else []
    if open_judge is not None and len({hunk_of(one) for one in since}) >= thresholds.shadow_min_hunks:
        with open_judge() as judge:
            return roll_back_if_declined(versions, since, outcomes, judge, thresholds)
    reason = decline_in_use(serving, outcomes, thresholds)
    if reason is not None:
        versions.rollback(reason)
    return reason


def _saved_since(versions: Versions, name: str) -> list[Example]:
    """The hunks saved since the promotion, as questions."""
    record = next((version.record for version in versions.history() if version.name == name), None)
    if record is None or not default_path().exists():
        return []
    with closing(Journal()) as journal:
        newer = list(journal.edits(since=record.judged_at))
        return held_out_examples(newer, journal.edits()) if newer else []


def _stamps(at_leisure: bool) -> tuple[int, ...]:
    """Size and time of every file that a look reads."""
    databases = [database(), default_path()] if at_leisure else [database()]
    files = [memory_file(), *(file.with_name(file.name + end) for file in databases for end in ("", "-wal"))]
    found = [file.stat() if file.exists() else None for file in files]
    return tuple(number for stat in found for number in ((stat.st_size, stat.st_mtime_ns) if stat else (0, 0)))
