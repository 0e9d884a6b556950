"""Before a new night: whether what serves has declined since it was promoted. If so, what served before it serves again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

from local_runtime.outcomes import Outcome, OutcomeLog, database
from trainer.adapters.shadow import decline_in_use, roll_back_if_declined
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal, default_path
from trainer.edits import Example
from trainer.examples.dataset import held_out_examples
from trainer.gate.judge import Judge
from trainer.gate.pool import hunk_of
from trainer.gate.thresholds import THRESHOLDS

OUTCOME_DAYS = 30


def review(versions: Versions, open_judge: Callable[[], AbstractContextManager[Judge]]) -> str | None:
    """The reason for which what served was rolled back, if it was. The judge is opened only when there is enough to ask."""
    serving = versions.current()
    if serving.name is None:
        return None
    outcomes = _outcomes()
    since = _saved_since(versions, serving.name)
    if len({hunk_of(one) for one in since}) >= THRESHOLDS.shadow_min_hunks:
        with open_judge() as judge:
            return roll_back_if_declined(versions, since, outcomes, judge)
    reason = decline_in_use(serving, outcomes)
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


def _outcomes() -> list[Outcome]:
    if not database().exists():
        return []
    with closing(OutcomeLog(database())) as log:
        return list(log.outcomes(time.time() - OUTCOME_DAYS * 86_400))
