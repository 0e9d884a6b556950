"""Before a night: what serves is looked at again, by what was saved and what was shown since, and rolled back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from gate_worlds import BASE_HASH, ScriptedJudge, losses, write_adapter

from local_runtime.places import folder
from local_runtime.records.outcomes import Fate, Outcome, OutcomeLog, database
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal
from trainer.edits import EditEvent, Verdict
from trainer.gate.judge import Judge
from trainer.nightly import review as reviews
from trainer.nightly.review import Reviewer, review
from trainer.nightly.trainer_lock import trainer_lock

PROMOTED = 1e9


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Two versions, the newer of which serves."""
    found = Versions(base_hash=BASE_HASH, clock=lambda: PROMOTED)
    for seed in (1, 2):
        source = write_adapter(tmp_path / f"run-{seed}", seed=seed)
        found.promote(found.stage(source.path), Verdict(True, ("Yes.",)))
    return found


class Opening:
    """A judge that is opened when it is needed; `mine` is the loss of what serves, the base's is 1."""

    def __init__(self, versions: Versions, mine: float) -> None:
        adapter = versions.current().adapter
        assert adapter
        self.n_opened = 0
        self._judge = ScriptedJudge(losses({None: 1.0, adapter.id: mine}))

    @contextmanager
    def __call__(self) -> Iterator[Judge]:
        self.n_opened += 1
        yield self._judge


def save(n: int, first: float) -> None:
    """`n` edits, an hour after each other."""
    text = "import house\n"
    with closing(Journal()) as journal:
        for number in range(n):
            before, text = text, f"{text}\n\ndef weigh_{number}(parcel):\n    return parcel.kilograms * {number + 7}\n"
            saved = first + 3600.0 * number
            journal.add([EditEvent("/w/shop/a.py", "/w/shop", "python", before, text, saved)])


def shown(adapter: str, number: int, useful: bool) -> Outcome:
    """A suggestion of an adapter, and what became of it."""
    fate = Fate.ACCEPTED if useful else Fate.REJECTED
    kept = 1.0 if useful else None
    return Outcome(
        f"{adapter}{number}", PROMOTED, "/a.py", 1, "python", "m", adapter, 1.0, "model", 10.0, -0.1, "x", fate, kept_at_save=kept
    )  # fmt: skip


def show(versions: Versions, mine: int, base: int) -> None:
    """60 suggestions of each were seen, and so many of them taken."""
    adapter = versions.current().adapter
    assert adapter
    folder(database().parent)
    with closing(OutcomeLog(database())) as log:
        for who, n_useful in ((adapter.id, mine), ("", base)):
            log.write([shown(who, number, number < n_useful) for number in range(60)], [])


def test_what_got_worse_on_what_was_saved_since_is_rolled_back(versions: Versions) -> None:
    save(20, PROMOTED + 1)
    judge = Opening(versions, 1.4)
    said = review(versions, judge)
    assert said is not None
    assert "% sure to be worse" in said
    assert versions.current().name == "personal-1"


def test_what_is_still_good_serves_on(versions: Versions) -> None:
    save(20, PROMOTED + 1)
    judge = Opening(versions, 0.8)
    assert review(versions, judge) is None
    assert judge.n_opened == 1
    assert versions.current().name == "personal-2"


@pytest.mark.parametrize(("n", "first"), [(20, PROMOTED - 1e6), (5, PROMOTED + 1), (0, 0.0)])
def test_nothing_new_opens_no_judge(versions: Versions, n: int, first: float) -> None:
    """Also what was saved before the promotion, which it may have been trained on."""
    save(n, first)
    judge = Opening(versions, 9.0)
    assert review(versions, judge) is None
    assert judge.n_opened == 0


def test_what_is_taken_less_often_than_the_base_is_rolled_back(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews.time, "time", lambda: PROMOTED + 5)
    show(versions, mine=6, base=40)
    judge = Opening(versions, 9.0)
    said = review(versions, judge)
    assert said is not None
    assert "were taken and kept" in said
    assert judge.n_opened == 0
    assert versions.current().name == "personal-1"


def test_the_base_is_not_reviewed() -> None:
    assert review(Versions(base_hash=BASE_HASH), lambda: pytest.fail("nobody is to be asked")) is None


class Day:
    """The watcher's look by day, by a clock of its own; `n_looks` at the versions, the costly part."""

    def __init__(self, versions: Versions, judge: Opening) -> None:
        self.now = PROMOTED + 10
        self.n_looks = 0
        self._versions = versions
        self._look = Reviewer(self._open, judge, lambda: self.now)

    def _open(self) -> Versions:
        self.n_looks += 1
        return self._versions

    def hours_later(self, hours: float, *, at_leisure: bool = True) -> str | None:
        self.now += 3600 * hours
        return self._look(at_leisure=at_leisure)


@pytest.fixture
def by_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews.time, "time", lambda: PROMOTED + 5)


@pytest.mark.usefixtures("by_day")
def test_by_day_what_is_taken_less_often_is_rolled_back_within_the_hour(versions: Versions) -> None:
    day = Day(versions, Opening(versions, 0.8))
    assert day.hours_later(0) is None
    show(versions, mine=6, base=40)
    assert day.hours_later(0.9) is None  # it looks once an hour
    said = day.hours_later(0.2, at_leisure=False)
    assert said is not None
    assert "were taken and kept" in said
    assert versions.current().name == "personal-1"
    (newest, _) = versions.history()
    assert newest.record and newest.record.rolled_back == said


@pytest.mark.usefixtures("by_day")
def test_by_day_nothing_is_opened_while_nothing_is_new(versions: Versions) -> None:
    judge = Opening(versions, 9.0)
    day = Day(versions, judge)
    show(versions, mine=40, base=40)
    looks = []
    for _ in range(4):
        assert day.hours_later(1.1) is None
        looks.append(day.n_looks)
    assert looks == [1, 1, 1, 1]
    show(versions, mine=39, base=40)
    assert day.hours_later(1.1) is None
    assert day.n_looks == 2
    assert judge.n_opened == 0
    assert versions.current().name == "personal-2"


@pytest.mark.usefixtures("by_day")
def test_by_day_questions_are_asked_only_at_leisure(versions: Versions) -> None:
    judge = Opening(versions, 1.4)
    day = Day(versions, judge)
    save(20, PROMOTED + 1)
    assert day.hours_later(1.1, at_leisure=False) is None
    assert judge.n_opened == 0
    said = day.hours_later(1.1)
    assert said is not None
    assert "hunks saved since" in said
    assert versions.current().name == "personal-1"


@pytest.mark.usefixtures("by_day")
def test_by_day_it_must_be_surer_than_before_a_night(versions: Versions) -> None:
    """97 % sure: enough once a night, not for one look of many."""
    show(versions, mine=20, base=30)
    judge = Opening(versions, 0.8)
    assert Day(versions, judge).hours_later(1.1) is None
    assert review(versions, judge) is not None


@pytest.mark.usefixtures("by_day")
def test_by_day_whoever_trains_is_not_disturbed_and_it_looks_again(versions: Versions) -> None:
    day = Day(versions, Opening(versions, 0.8))
    show(versions, mine=6, base=40)
    with trainer_lock():
        assert day.hours_later(1.1) is None
    assert versions.current().name == "personal-2"
    assert day.hours_later(1.1) is not None


def test_by_day_without_an_adapter_nothing_is_looked_at(home: Path) -> None:
    look = Reviewer(lambda: pytest.fail("nothing serves"), lambda: pytest.fail("nobody is to be asked"))
    assert look(at_leisure=True) is None
