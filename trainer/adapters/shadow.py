"""Whether what serves has fallen below the base since it was promoted: by the hunks that came after it, and by what its user did.

Two questions, each with its own evidence, and each answered only when there is enough of it: would the base have been
better at the hunks saved since (shadow), and were the base's suggestions accepted more often (live)?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from local_runtime.adapters.shelf import Choice
from local_runtime.records.outcomes import Fate, Outcome
from trainer.adapters.versions import Versions
from trainer.edits import Example
from trainer.gate.bootstrap import chance_below
from trainer.gate.judge import Judge
from trainer.gate.measures import share
from trainer.gate.pool import hunk_of, newest
from trainer.gate.thresholds import THRESHOLDS, Thresholds

_SEEN = (Fate.ACCEPTED, Fate.PARTLY, Fate.TYPED, Fate.REJECTED)


def roll_back_if_declined(
    versions: Versions,
    since: Sequence[Example],
    outcomes: Iterable[Outcome],
    judge: Judge,
    thresholds: Thresholds = THRESHOLDS,
) -> str | None:
    """Roll back what serves if it has declined, by either evidence; the reason, or None if it goes on serving.

    `since`: examples of the hunks saved since it was promoted, which it was not trained on. `outcomes`: of the last weeks.
    """
    serving = versions.current()
    reason = decline_in_use(serving, outcomes, thresholds) or decline_in_shadow(serving, since, judge, thresholds)
    if reason is not None:
        versions.rollback(reason)
    return reason


def decline_in_shadow(
    serving: Choice, since: Sequence[Example], judge: Judge, thresholds: Thresholds = THRESHOLDS
) -> str | None:
    """A sentence, if the hunks saved since the promotion are surely more likely under the base; None if not, or if too few."""
    if serving.adapter is None:
        return None
    examples = newest(since, thresholds)
    units = [hunk_of(one) for one in examples]
    n_hunks = len(set(units))
    if n_hunks < thresholds.shadow_min_hunks:
        return None
    mine = [judge.score(one, serving.adapter, serving.strength).nats for one in examples]
    base = [judge.score(one, None).nats for one in examples]
    sizes = [float(len(one.middle.encode("utf-8", "replace"))) for one in examples]
    differences = [b - a for a, b in zip(mine, base, strict=True)]
    sure = chance_below(differences, sizes, units, thresholds.resamples)
    if sure < thresholds.rollback_confidence:
        return None
    n_bytes = sum(sizes)
    return (
        f"On {n_hunks} hunks saved since it was promoted its loss is {sum(mine) / n_bytes:.4f} nats per byte, "
        f"the base's {sum(base) / n_bytes:.4f}: {100 * sure:.1f} % sure to be worse."
    )


def decline_in_use(serving: Choice, outcomes: Iterable[Outcome], thresholds: Thresholds = THRESHOLDS) -> str | None:
    """A sentence, if its suggestions were surely accepted less often than the base's; None if not, or if too few were seen.

    `outcomes` hold both; suggestions of a bootstrap resample are drawn one by one.
    """
    if serving.adapter is None:
        return None
    mine: list[bool] = []
    base: list[bool] = []
    for one in outcomes:
        if one.fate in _SEEN and one.adapter in ("", serving.adapter.id):
            (mine if one.adapter else base).append(was_useful(one))
    if min(len(mine), len(base)) < thresholds.live_min_shown:
        return None
    # Unpaired: each side is resampled, and the difference of the means is what counts.
    sure = _chance_lower(mine, base, thresholds.resamples)
    if sure < thresholds.rollback_confidence:
        return None
    return (
        f"Of {len(mine)} of its suggestions {100 * share(mine):.1f} % were taken and kept, of {len(base)} of the base's "
        f"{100 * share(base):.1f} %: {100 * sure:.1f} % sure to be worse."
    )


def was_useful(outcome: Outcome) -> bool:
    """Accepted, wholly or in part, not undone, and mostly still there when it was looked at again."""
    if outcome.fate not in (Fate.ACCEPTED, Fate.PARTLY) or outcome.is_undone:
        return False
    kept = outcome.kept_at_save if outcome.kept_at_save is not None else outcome.kept_after_30s
    return kept is None or kept >= 0.5


def _chance_lower(a: Sequence[bool], b: Sequence[bool], resamples: int) -> float:
    """How sure the mean of `a` is below that of `b`, both resampled."""
    dice = np.random.default_rng(0)
    means = [dice.binomial(len(values), sum(values) / len(values), resamples) / len(values) for values in (a, b)]
    return float((means[0] < means[1]).mean())
