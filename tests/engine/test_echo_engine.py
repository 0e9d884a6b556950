"""The echo engine keeps the laws, and its scripts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from engine_laws import EngineLaws, Subject, ids_of, text_of

from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.engines.protocol import Adapter, Prompt, Sampling, Stop
from local_runtime.errors import EngineDied


def prompt(text: str) -> Prompt:
    return Prompt(tuple(text.encode()))


class TestLaws(EngineLaws):
    @pytest.fixture
    def subject(self) -> Subject:
        engine = EchoEngine()
        return Subject(
            engine,
            (prompt("one\nfor x in range(3): päss"), prompt("y" * 500 + "\nreturn 'a b c d'")),
            lambda: engine.forwards,
            lambda ids: bytes(ids).decode("utf-8", "ignore"),
        )


def test_pieces_come_one_a_forward() -> None:
    engine = EchoEngine((Script(("a", "b", "c")),))
    assert [p.text for p in engine.stream(prompt("x"), Sampling())] == ["a", "b", "c"]
    assert engine.forwards == 3


def test_default_repeats_the_last_line() -> None:
    assert text_of(list(EchoEngine().stream(prompt("a = 1\nb = 2\n\n"), Sampling()))) == "b = 2"


def test_half_a_character_is_never_shown() -> None:
    pieces = list(EchoEngine((Script(("é€",)),)).stream(prompt("x"), Sampling(max_tokens=4)))
    assert text_of(pieces) == "é"
    assert len(ids_of(pieces)) == 4


def test_a_delay_is_a_row_of_short_forwards() -> None:
    slept: list[float] = []
    engine = EchoEngine((Script(("a", "b"), first_delay_ms=12, delay_ms=5),), forward_ms=5, sleep=slept.append)
    pieces = list(engine.stream(prompt("x"), Sampling()))
    assert [p.text for p in pieces] == ["", "", "", "a", "", "b"]
    assert slept == pytest.approx([0.005, 0.005, 0.002, 0.005])
    assert engine.forwards == len(pieces)


def test_a_held_stream_can_be_closed_or_released() -> None:
    hold = threading.Event()
    engine = EchoEngine((Script(("a",), hold=hold), Script(("a",), hold=hold)), forward_ms=1)
    stream = engine.stream(prompt("x"), Sampling())
    assert next(stream).text == ""
    stream.close()  # type: ignore[attr-defined]
    assert engine.aborts == 1
    hold.set()
    assert text_of(list(engine.stream(prompt("x"), Sampling()))) == "a"
    assert engine.aborts == 1


def test_failures_come_after_the_pieces() -> None:
    engine = EchoEngine((Script(("a",), failure=EngineDied("gone")),))
    stream = engine.stream(prompt("x"), Sampling())
    assert next(stream).text == "a"
    with pytest.raises(EngineDied):
        next(stream)
    assert engine.aborts == 0


def test_requests_are_remembered() -> None:
    engine = EchoEngine()
    adapter = Adapter("one", "", Path("a"), 4, ())
    list(engine.stream(prompt("x"), Sampling(max_tokens=3), adapter, 0.5))
    list(engine.score(prompt("y"), (1, 2)))
    streamed, scored = engine.requests
    assert (streamed.prompt, streamed.adapter, streamed.strength, streamed.target) == (prompt("x"), adapter, 0.5, None)
    assert (scored.prompt, scored.target, scored.sampling) == (prompt("y"), (1, 2), None)


def test_an_empty_script_ends_at_once() -> None:
    (piece,) = EchoEngine((Script(()),)).stream(prompt("x"), Sampling())
    assert (piece.text, piece.stop) == ("", Stop.END)
