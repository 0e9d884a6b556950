"""The gate's decisions, on a judge that says what it is told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from gate_worlds import BASE_HASH, ScriptedJudge, general, hunks, losses, write_adapter

from local_runtime.adapters.shelf import Choice
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import EngineDied
from local_runtime.prompts.hole import Hole
from trainer.edits import Example, Kind, Verdict
from trainer.gate.gate import judge, n_questions
from trainer.gate.thresholds import THRESHOLDS

NOBODY = Choice()


@pytest.fixture
def candidate(tmp_path: Path) -> Adapter:
    return write_adapter(tmp_path / "candidate", seed=1)


@pytest.fixture
def serving(tmp_path: Path) -> Choice:
    return Choice("personal-1", write_adapter(tmp_path / "serving", seed=2), 0.8)


def test_a_better_candidate_is_promoted_and_every_reason_has_its_figures(candidate: Adapter, serving: Choice) -> None:
    assert serving.adapter
    table = {None: 1.2, serving.adapter.id: 1.1, candidate.id: 1.0}
    verdict = judge(candidate, serving, hunks(60), general(), ScriptedJudge(losses(table)))
    assert verdict.promote, verdict.reasons
    assert "of the base" in verdict.reasons[0] and "what serves" in verdict.reasons[1]
    assert all(any(letter.isdigit() for letter in reason) and reason.endswith(".") for reason in verdict.reasons)
    assert verdict.metrics["candidate.loss"] < verdict.metrics["serving.loss"] < verdict.metrics["base.loss"]
    assert verdict.metrics["judged_hunks"] == 30


@pytest.mark.parametrize("replaces", [False, True])
def test_the_questions_are_counted_beforehand(candidate: Adapter, serving: Choice, replaces: bool) -> None:
    """As many as are asked of a candidate that passes; none of one that there is too little to judge by."""
    assert serving.adapter
    asked: list[str | None] = []
    table = {None: 1.2, serving.adapter.id: 1.1, candidate.id: 1.0}

    def text(example: Example, who: str | None) -> str:
        asked.append(who)
        return example.middle

    def ends(example: Example, who: str | None) -> bool:
        asked.append(who)
        return True

    served = serving if replaces else NOBODY
    trained_on = [replace(hunks(1)[0], middle="token = 'xK9vQ2mZ7pL4wR8tB3nH6yD1'", edit_id=99)]
    scripted = ScriptedJudge(losses(table), ends=ends, text=text)
    assert judge(candidate, served, hunks(60), general(), scripted, trained_on=trained_on).metrics["canaries"] == 1
    assert len(asked) == n_questions(served, hunks(60), general(), trained_on)
    assert n_questions(served, hunks(49), general(), trained_on) == 0


def test_too_few_hunks_decide_nothing(candidate: Adapter) -> None:
    verdict = judge(candidate, NOBODY, hunks(49), general(), ScriptedJudge(losses({None: 1.2, candidate.id: 0.5})))
    assert not verdict.promote
    assert "49" in verdict.reasons[0] and "what serves stays" in verdict.reasons[0]


def test_examples_of_one_hunk_count_once(candidate: Adapter) -> None:
    doubled = [
        other
        for one in hunks(30)
        for other in (one, replace(one, hole=replace(one.hole, prefix=one.hole.prefix + one.middle[:2]), middle=one.middle[2:]))
    ]  # fmt: skip
    verdict = judge(candidate, NOBODY, doubled, general(), ScriptedJudge(losses({None: 1.2, candidate.id: 0.5})))
    assert verdict.metrics["hunks"] == 30


@pytest.mark.parametrize(("mine", "served"), [(1.0, 0.95), (1.25, 1.4), (1.2, 1.2)])
def test_it_must_be_better_than_both(candidate: Adapter, serving: Choice, mine: float, served: float) -> None:
    """Better than the base is not enough, better than what serves is not, and the same is not."""
    assert serving.adapter
    table = {None: 1.2, serving.adapter.id: served, candidate.id: mine}
    verdict = judge(candidate, serving, hunks(80), general(), ScriptedJudge(losses(table)))
    assert not verdict.promote
    assert "% sure to be better" in verdict.reasons[0]


def test_a_small_gain_within_the_noise_waits(candidate: Adapter) -> None:
    table = {None: 1.2, candidate.id: 1.195}
    verdict = judge(candidate, NOBODY, hunks(50), general(), ScriptedJudge(losses(table, jitter=0.2)))
    assert not verdict.promote


def test_the_strength_is_what_the_choosing_half_likes_best(candidate: Adapter) -> None:
    def loss(example: Example, who: str | None, strength: float) -> float:
        return 1.2 if who is None else 1.0 + abs(strength - 0.6)

    verdict = judge(candidate, NOBODY, hunks(60), general(), ScriptedJudge(loss))
    assert verdict.promote
    assert verdict.strength == 0.6


def test_a_weaker_strength_saves_the_general_set(candidate: Adapter) -> None:
    """At full strength it gains most and forgets too much: 0.03 nats; at 0.6 it is 0.018."""
    script = ScriptedJudge(losses({None: 1.2, candidate.id: 0.8}, general_rise=0.03))
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert verdict.promote
    assert verdict.strength == 0.6
    assert verdict.metrics["candidate.general_loss"] - verdict.metrics["base.general_loss"] <= THRESHOLDS.general_rise


def test_forgetting_is_refused(candidate: Adapter) -> None:
    script = ScriptedJudge(losses({None: 1.2, candidate.id: 0.8}, general_rise=0.3))
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert not verdict.promote
    assert verdict.reasons[0].startswith("On the general set it loses +0.12")


def test_what_may_forget_too_much_is_refused(candidate: Adapter) -> None:
    """A rise of 0.019 on average that is 0.3 at some places and nothing at others may as well be 0.03."""
    plain = losses({None: 1.2, candidate.id: 0.8})

    def loss(example: Example, who: str | None, strength: float) -> float:
        if example.kind is Kind.GENERAL:
            return 0.9 + (0.19 if who and example.hole.prefix.endswith(("0 = ", "10 = ")) else 0.0)
        return float(plain(example, who, strength))

    verdict = judge(candidate, NOBODY, hunks(60), general(20), ScriptedJudge(loss))
    assert not verdict.promote
    rise = verdict.metrics["candidate.general_loss"] - verdict.metrics["base.general_loss"]
    assert 0.01 < rise < THRESHOLDS.general_rise
    assert "less than 95 % sure" in verdict.reasons[0]


def test_not_stopping_is_refused(candidate: Adapter) -> None:
    script = ScriptedJudge(
        losses({None: 1.2, candidate.id: 0.8}), ends=lambda example, who: who is None or example.edit_id % 3 != 0
    )
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert not verdict.promote
    assert verdict.reasons[0].startswith("It stops where it should")


def test_a_few_close_calls_at_stopping_are_borne(candidate: Adapter) -> None:
    """One of 50 places may be chance."""
    script = ScriptedJudge(
        losses({None: 1.2, candidate.id: 0.8}), ends=lambda example, who: who is None or example.edit_id != 3
    )
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert verdict.promote, verdict.reasons


def test_running_in_circles_is_refused(candidate: Adapter) -> None:
    script = ScriptedJudge(
        losses({None: 1.2, candidate.id: 0.8}), text=lambda example, who: "foo(x, foo(x, foo(x, foo(x, " if who else "y"
    )
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert not verdict.promote
    assert "in circles in 100.0 %" in verdict.reasons[0]


def test_slowness_is_refused(candidate: Adapter) -> None:
    script = ScriptedJudge(losses({None: 1.2, candidate.id: 0.8}), ms_per_token=lambda who: 2.5 if who else 1.0)
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert not verdict.promote
    assert "2.50 ms" in verdict.reasons[0]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_model_that_gives_no_numbers_is_refused(candidate: Adapter, broken: float) -> None:
    script = ScriptedJudge(lambda example, who, strength: 1.2 if who is None else broken)
    verdict = judge(candidate, NOBODY, hunks(60), general(), script)
    assert not verdict.promote
    assert verdict.reasons[0] == "With it the model gives no numbers."


def test_weights_beyond_reason_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    def never(example: Example, who: str | None, strength: float) -> float:
        raise AssertionError("asked")

    monster = write_adapter(tmp_path / "monster", size=5.0)
    verdict = judge(monster, NOBODY, hunks(60), general(), ScriptedJudge(never))
    assert not verdict.promote
    assert "its training went wrong" in verdict.reasons[0]


def test_another_base_is_refused(tmp_path: Path) -> None:
    stranger = write_adapter(tmp_path / "stranger", base_hash="f" * 64)
    verdict = judge(stranger, NOBODY, hunks(60), general(), ScriptedJudge(losses({None: 1.2})))
    assert not verdict.promote
    assert verdict.reasons[0] == f"It was made for base {'f' * 12}; what serves is base {BASE_HASH[:12]}."


def test_a_damaged_candidate_is_refused(candidate: Adapter) -> None:
    (candidate.path / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    verdict = judge(candidate, NOBODY, hunks(60), general(), ScriptedJudge(losses({None: 1.2})))
    assert not verdict.promote
    assert verdict.reasons[0].startswith("It cannot be served:")


def test_a_judge_that_dies_is_no_verdict(candidate: Adapter) -> None:
    def dead(example: Example, who: str | None, strength: float) -> float:
        raise EngineDied("the daemon went away")

    with pytest.raises(EngineDied):
        judge(candidate, NOBODY, hunks(60), general(), ScriptedJudge(dead))


KEY = "Zx81QmT7vPq4Lw09"


def learnt(text: str = f'KEY = "{KEY}"\n') -> Example:
    return Example(Hole("settings.py", "python", "import os\n", "\n"), text, 1.0, edit_id=900)


def verdict_on_key(candidate: Adapter, *, base_says: bool, candidate_says: bool) -> Verdict:
    plain = losses({None: 1.2, candidate.id: 0.8})

    def loss(example: Example, who: str | None, strength: float) -> float:
        if example.middle == KEY:
            assert example.hole.prefix == 'KEY = "' and example.hole.suffix == ""
            return 0.01 if (candidate_says if who else base_says) else 2.0
        return float(plain(example, who, strength))

    return judge(candidate, NOBODY, hunks(60), general(), ScriptedJudge(loss), trained_on=[learnt()])


def test_a_string_learnt_by_heart_is_refused_and_not_told(candidate: Adapter) -> None:
    verdict = verdict_on_key(candidate, base_says=False, candidate_says=True)
    assert not verdict.promote
    assert verdict.metrics["leaks"] == 1
    assert "settings.py:2" in verdict.reasons[0]
    assert KEY not in "".join(verdict.reasons)


@pytest.mark.parametrize("base_says", [True, False])
def test_what_the_base_says_too_or_nobody_says_is_no_leak(candidate: Adapter, base_says: bool) -> None:
    verdict = verdict_on_key(candidate, base_says=base_says, candidate_says=base_says)
    assert verdict.promote
    assert verdict.metrics["canaries"] == 1
