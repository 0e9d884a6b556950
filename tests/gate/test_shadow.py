"""The automatic roll-back: when there is enough evidence, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_worlds import BASE_HASH, ScriptedJudge, hunks, losses, write_adapter

from local_runtime.adapters.shelf import Choice
from local_runtime.records.outcomes import Fate, Outcome
from trainer.adapters.shadow import decline_in_shadow, decline_in_use, roll_back_if_declined
from trainer.adapters.versions import Versions
from trainer.edits import Verdict


@pytest.fixture
def serving(tmp_path: Path) -> Choice:
    return Choice("personal-2", write_adapter(tmp_path / "serving"), 0.8)


def judge(serving: Choice, mine: float) -> ScriptedJudge:
    assert serving.adapter
    return ScriptedJudge(losses({None: 1.0, serving.adapter.id: mine}))


def test_worse_than_the_base_on_what_came_after_is_said(serving: Choice) -> None:
    said = decline_in_shadow(serving, hunks(30), judge(serving, 1.2))
    assert said is not None
    assert "30 hunks" in said and "% sure to be worse" in said


@pytest.mark.parametrize(("n_hunks", "mine"), [(11, 2.0), (30, 0.9), (30, 1.0)])
def test_too_few_or_no_worse_is_no_decline(serving: Choice, n_hunks: int, mine: float) -> None:
    assert decline_in_shadow(serving, hunks(n_hunks), judge(serving, mine)) is None


def test_the_base_cannot_decline(serving: Choice) -> None:
    assert decline_in_shadow(Choice(), hunks(30), judge(serving, 2.0)) is None
    assert decline_in_use(Choice(), []) is None


def shown(adapter: str, n: int, n_useful: int, **change: object) -> list[Outcome]:
    found = []
    for number in range(n):
        fate = Fate.ACCEPTED if number < n_useful else Fate.REJECTED
        plain = {"fate": fate, "kept_at_save": 1.0 if fate is Fate.ACCEPTED else None} | change
        found.append(
            Outcome(
                f"{adapter}{number}", 1.0, "/a.py", 1, "python", "m", adapter, 1.0, "model", 10.0, -0.1, "x", **plain
            )
        )  # type: ignore[arg-type]
    return found


def test_accepted_less_often_than_the_base_is_said(serving: Choice) -> None:
    assert serving.adapter
    said = decline_in_use(serving, [*shown(serving.adapter.id, 60, 9), *shown("", 80, 32)])
    assert said is not None
    assert "15.0 %" in said and "40.0 %" in said


def test_too_few_suggestions_or_others_adapters_decide_nothing(serving: Choice) -> None:
    assert serving.adapter
    mine, base = shown(serving.adapter.id, 39, 0), shown("", 80, 60)
    assert decline_in_use(serving, [*mine, *base]) is None
    assert decline_in_use(serving, [*mine, *shown("other", 100, 0), *base]) is None
    assert decline_in_use(serving, [*shown(serving.adapter.id, 60, 24), *shown("", 60, 24)]) is None


def test_what_was_unseen_says_nothing_and_what_was_undone_was_not_useful(serving: Choice) -> None:
    assert serving.adapter
    unseen = shown(serving.adapter.id, 200, 0, fate=Fate.UNSEEN)
    assert decline_in_use(serving, [*unseen, *shown("", 80, 60)]) is None
    undone = shown(serving.adapter.id, 60, 60, is_undone=True)
    assert decline_in_use(serving, [*undone, *shown("", 80, 60)]) is not None


def test_what_declined_is_rolled_back_with_its_reason(tmp_path: Path) -> None:
    versions = Versions(base_hash=BASE_HASH)
    for seed in (1, 2):
        source = write_adapter(tmp_path / f"run-{seed}", seed=seed)
        versions.promote(versions.stage(source.path), Verdict(True, ("Yes.",)))
    serving = versions.current()
    assert roll_back_if_declined(versions, hunks(30), [], judge(serving, 0.9)) is None
    assert versions.current().name == "personal-2"
    reason = roll_back_if_declined(versions, hunks(30), [], judge(serving, 1.3))
    assert versions.current().name == "personal-1"
    record = versions.history()[0].record
    assert record is not None and record.rolled_back == reason
