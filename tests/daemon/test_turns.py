"""Fairness, as a data structure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local_runtime.daemon.turns import Turns


def drained(turns: Turns[str]) -> list[str]:
    taken = []
    while (job := turns.take()) is not None:
        taken.append(job)
    return taken


def test_clients_take_turns_whoever_asked_more() -> None:
    turns: Turns[str] = Turns()
    for job in ("a1", "a2", "a3", "b1"):
        turns.add(job, job[0], background=False)
    assert drained(turns) == ["a1", "b1", "a2", "a3"]


def test_a_person_goes_before_background_work_that_came_earlier() -> None:
    turns: Turns[str] = Turns()
    turns.add("gate", "g", background=True)
    turns.add("key", "k", background=False)
    assert drained(turns) == ["key", "gate"]


def test_a_discarded_job_has_no_turn_and_leaves_no_trace() -> None:
    turns: Turns[str] = Turns()
    turns.add("a1", "a", background=False)
    turns.add("b1", "b", background=True)
    turns.discard("a1")
    turns.discard("never there")
    assert len(turns) == 1
    assert drained(turns) == ["b1"]
    assert len(turns) == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_nobody_is_served_twice_while_another_waits(clients: list[int]) -> None:
    turns: Turns[tuple[int, int]] = Turns()
    for n, client in enumerate(clients):
        turns.add((client, n), str(client), background=False)
    waiting = {client: clients.count(client) for client in set(clients)}
    served = dict.fromkeys(waiting, 0)
    while (job := turns.take()) is not None:
        served[job[0]] += 1
        waiting[job[0]] -= 1
        behind = [served[client] for client, left in waiting.items() if left]
        assert not behind or served[job[0]] <= min(behind) + 1
    assert served == {client: clients.count(client) for client in set(clients)}
