"""From where a night begins: yesterday's adapter, or the base; and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.nightly.runs import Reason, Record

N_REFUSED = 3
"""So many warm nights in a row that were not promoted have led somewhere wrong: the base is a better beginning."""
_PERSONAL = re.compile(r"personal-[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins."""

    reason: Reason
    parent: str | None
    """The version to go on from; None: the base."""


def start(
    serving: str | None, base_hash: str, ended: Sequence[Record], now: float, rebuild_days: float, *, owed: bool = False
) -> Start:
    """`serving` is the adapter that serves this base; `ended` are the runs so far, oldest first; `owed`: something was forgotten."""
    if owed:
        return Start(Reason.FORGET, None)
    if serving is None or not _PERSONAL.fullmatch(serving):
        known_base = next((one.base_hash for one in reversed(ended) if one.promoted), base_hash)
        return Start(Reason.FIRST if known_base == base_hash else Reason.BASE_CHANGED, None)
    judged = [one for one in ended if one.base_hash == base_hash and one.verdict is not None]
    lately = judged[-N_REFUSED:]
    if len(lately) == N_REFUSED and all(one.reason.is_warm and not one.promoted for one in lately):
        return Start(Reason.REFUSED, None)
    # One that seems to lie in the future was before the clock was set back: when that was is not known.
    rebuilt = max((one.began for one in judged if not one.reason.is_warm and one.began <= now), default=0.0)
    if now - rebuilt >= rebuild_days * 86_400:
        return Start(Reason.WEEKLY, None)
    return Start(Reason.WARM, serving)
