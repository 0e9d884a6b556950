"""What a night does, in order, and why it begins where it does."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Where a run stands; it is taken up at the beginning of this stage after a kill."""

    COLLECT = "collect"
    TUNE = "tune"
    STAGE = "stage"
    GATE = "gate"
    PROMOTE = "promote"
    DONE = "done"


class Reason(StrEnum):
    """Why a night begins where it does."""

    WARM = "warm"  # from the adapter that serves
    WEEKLY = "weekly"  # from the base: a week has passed
    FIRST = "first"  # from the base: there is no adapter yet
    BASE_CHANGED = "base changed"
    REFUSED = "refused"  # from the base: three nights in a row were not promoted
    FORGET = "forget"  # from the base, as if something had never been seen
    ASKED = "asked"  # from the base: the user said so

    @property
    def is_warm(self) -> bool:
        """Whether training goes on from the serving adapter."""
        return self is Reason.WARM

    @property
    def rebuilds(self) -> bool:
        """Whether all that is left is learnt anew, by the rebuild's recipe and mix."""
        return self not in (Reason.WARM, Reason.FIRST)
