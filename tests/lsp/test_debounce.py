"""The wait adapts to the typist and to the machine."""

from __future__ import annotations

from lsp_server.debounce import Debounce


def typist(gap_ms: float, latency_ms: float, n_keys: int = 20) -> Debounce:
    debounce = Debounce()
    for key in range(n_keys):
        debounce.key(key * gap_ms)
        debounce.answered(latency_ms)
    return debounce


def test_no_wait_when_the_model_is_faster_than_the_keys() -> None:
    assert typist(150, 40).delay_ms("x = ", 120) == 0


def test_a_slow_model_waits_for_a_pause_up_to_the_ceiling() -> None:
    assert typist(100, 180).delay_ms("x = ", 120) == 80
    assert typist(100, 900).delay_ms("x = ", 120) == 120
    assert typist(100, 900).delay_ms("x = ", 0) == 0


def test_never_at_a_lines_start() -> None:
    assert typist(100, 900).delay_ms("    ", 120) == 0


def test_no_wait_before_anything_is_known() -> None:
    assert Debounce().delay_ms("x = ", 120) == 0


def test_pauses_for_thought_do_not_count() -> None:
    debounce = typist(100, 150)
    for key in range(20):
        debounce.key(10_000 + key * 5_000)
    assert debounce.delay_ms("x", 120) == 50
