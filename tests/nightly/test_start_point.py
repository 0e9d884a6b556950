"""From where a night begins."""

from __future__ import annotations

import pytest

from trainer.edits import Verdict
from trainer.nightly.runs import Reason, Record
from trainer.nightly.start_point import Start, start

DAY = 86_400.0
NOW = 1.8e9


def ended(days_ago: float, reason: Reason, *, promoted: bool = True, base_hash: str = "b") -> Record:
    began = NOW - days_ago * DAY
    return Record(
        id=str(days_ago), reason=reason, model="m", base_hash=base_hash, began=began, ended=began + 60, verdict=Verdict(promoted, ("why",))
    )  # fmt: skip


def begin(serving: str | None, *runs: Record) -> Start:
    return start(serving, "b", runs, NOW, 7)


def test_the_first_night_begins_at_the_base() -> None:
    assert begin(None) == Start(Reason.FIRST, None)
    assert begin(None, ended(1, Reason.FIRST, promoted=False)) == Start(Reason.FIRST, None)


def test_after_forgetting_it_is_rebuilt_whatever_serves() -> None:
    for serving in (None, "personal-1", "team"):
        assert start(serving, "base", [], NOW, 7.0, owed=True) == Start(Reason.FORGET, None)


def test_a_night_goes_on_from_what_serves() -> None:
    assert begin("personal-1", ended(1, Reason.FIRST)) == Start(Reason.WARM, "personal-1")


def test_after_a_week_it_is_rebuilt() -> None:
    assert begin("personal-1", ended(8, Reason.FIRST), ended(1, Reason.WARM)) == Start(Reason.WEEKLY, None)


def test_three_refused_nights_lead_back_to_the_base() -> None:
    refused = [ended(n, Reason.WARM, promoted=False) for n in (3, 2, 1)]
    assert begin("personal-1", ended(4, Reason.FIRST), *refused) == Start(Reason.REFUSED, None)
    assert begin("personal-1", ended(4, Reason.FIRST), *refused[1:]) == Start(Reason.WARM, "personal-1")
    # The rebuild was refused, too: it is not tried again every night.
    rebuilt = ended(0.5, Reason.REFUSED, promoted=False)
    assert begin("personal-1", ended(4, Reason.FIRST), *refused, rebuilt) == Start(Reason.WARM, "personal-1")


def test_another_base_begins_anew() -> None:
    assert begin(None, ended(1, Reason.WARM, base_hash="old")) == Start(Reason.BASE_CHANGED, None)


@pytest.mark.parametrize("serving", ["work", "personal-1*0.5+work*1"])
def test_an_imported_adapter_or_a_mix_is_not_gone_on_from(serving: str) -> None:
    assert begin(serving, ended(1, Reason.WARM)).parent is None


def test_a_clock_that_went_backwards_rebuilds() -> None:
    """The last rebuild seems to lie in the future: when it was is not known, so it counts as long ago."""
    assert begin("personal-1", ended(-300, Reason.FIRST)) == Start(Reason.WEEKLY, None)
    # Once is enough.
    assert begin("personal-1", ended(1, Reason.WEEKLY), ended(-300, Reason.FIRST)) == Start(Reason.WARM, "personal-1")
