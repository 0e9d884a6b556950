"""Silence is learned from what was accepted, and only from enough of it."""

from __future__ import annotations

from lsp_server.confidence import EXPLORE, N_OF_EACH_KIND, Confidence, threshold


def test_off_until_there_are_enough_of_both_kinds() -> None:
    few = [(-0.1, True)] * (N_OF_EACH_KIND - 1) + [(-3.0, False)] * 300
    assert threshold(few) is None
    assert threshold([*few, (-0.1, True)]) == -0.1


def test_the_threshold_parts_what_is_accepted_from_what_is_not() -> None:
    shown = [(-0.2, True)] * 30 + [(-0.5, False)] * 30 + [(-0.6, True)] * 10 + [(-2.0, False)] * 200
    assert threshold(shown) == -0.6, "a rejection costs less than an acceptance is worth"


def test_no_threshold_where_silence_would_not_help() -> None:
    assert threshold([(-0.2, False)] * 40 + [(-2.0, True)] * 40) is None


def test_learned_per_language_and_now_and_then_tried_again() -> None:
    confidence = Confidence([("python", -0.1, True)] * 40 + [("python", -3.0, False)] * 200)
    assert confidence.is_enough("python", -0.1)
    assert confidence.is_enough("lua", -9.0)
    tries = [confidence.is_enough("python", -2.5) for _ in range(2 * EXPLORE)]
    assert tries.count(True) == 2


def test_new_evidence_moves_it() -> None:
    confidence = Confidence([("python", -0.1, True)] * 40 + [("python", -3.0, False)] * 60)
    assert not confidence.is_enough("python", -3.0)
    for _ in range(40):
        confidence.learn("python", -3.0, accepted=True)
    assert confidence.is_enough("python", -3.0)
