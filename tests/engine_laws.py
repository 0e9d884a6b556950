"""The laws of `local_runtime.engines.protocol.Engine`, as tests that any engine can be held to.

Subclass `EngineLaws` in a test module and give it a `subject` fixture:

    class TestMyEngine(EngineLaws):
        @pytest.fixture
        def subject(self) -> Subject: ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from local_runtime.engines.protocol import Adapter, Engine, Piece, Prompt, Sampling, Stop
from local_runtime.errors import AdapterInvalid, BadRequest

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """An engine under test, and what the laws need to know of it."""

    engine: Engine
    prompts: tuple[Prompt, ...]
    """Two or more different prompts, one of them longer than a prefill chunk; their greedy completions are 4 tokens or more."""
    forwards: Callable[[], int]
    """How many forwards have run so far."""
    decode: Callable[[tuple[int, ...]], str]
    """Text of token ids; an unfinished character at the end is dropped."""
    adapter: Adapter | None = None
    """An adapter that fits the engine, if it can take one."""


def text_of(pieces: list[Piece]) -> str:
    return "".join(p.text for p in pieces)


def ids_of(pieces: list[Piece]) -> tuple[int, ...]:
    return tuple(i for p in pieces for i in p.token_ids)


def logprobs_of(pieces: list[Piece]) -> tuple[float, ...]:
    return tuple(x for p in pieces for x in p.logprobs)


def said(
    subject: Subject, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
) -> list[Piece]:
    """All pieces of one completion."""
    return list(subject.engine.stream(prompt, sampling, adapter, strength))


class EngineLaws:
    sampling = Sampling(max_tokens=12)

    def test_only_the_last_piece_says_why_it_ended(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            pieces = said(subject, prompt, self.sampling)
            assert pieces[-1].stop in (Stop.END, Stop.LENGTH, Stop.TEXT)
            assert [p.stop for p in pieces[:-1]] == [None] * (len(pieces) - 1)

    def test_every_token_has_a_logprob(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            for piece in said(subject, prompt, self.sampling):
                assert len(piece.logprobs) == len(piece.token_ids)
                assert all(math.isfinite(x) and x <= 1e-6 for x in piece.logprobs)

    @pytest.mark.parametrize("max_tokens", [1, 2, 3])
    def test_max_tokens_is_a_limit(self, subject: Subject, max_tokens: int) -> None:
        for prompt in subject.prompts:
            pieces = said(subject, prompt, replace(self.sampling, max_tokens=max_tokens))
            assert len(ids_of(pieces)) == max_tokens
            assert pieces[-1].stop is Stop.LENGTH

    def test_a_shorter_limit_gives_the_beginning_of_a_longer_one(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            long, short = (ids_of(said(subject, prompt, replace(self.sampling, max_tokens=n))) for n in (12, 3))
            assert long[:3] == short

    def test_between_two_nexts_at_most_one_forward_runs(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            target = ids_of(self._counted(subject, subject.engine.stream(prompt, self.sampling)))
            self._counted(subject, subject.engine.score(prompt, target))

    def test_nothing_runs_before_the_first_next(self, subject: Subject) -> None:
        before = subject.forwards()
        subject.engine.stream(subject.prompts[0], self.sampling)
        subject.engine.score(subject.prompts[0], (1, 2))
        assert subject.forwards() == before

    def test_stop_ids_end_it_and_stay_out(self, subject: Subject) -> None:
        prompt = subject.prompts[0]
        free = ids_of(said(subject, prompt, self.sampling))
        stop_id = free[2]
        pieces = said(subject, replace(prompt, stop_ids=frozenset({stop_id})), self.sampling)
        assert ids_of(pieces) == free[: free.index(stop_id)]
        assert pieces[-1].stop is Stop.END

    def test_stop_strings_end_it_and_stay_out(self, subject: Subject) -> None:
        prompt = subject.prompts[0]
        free = text_of(said(subject, prompt, self.sampling))
        for start in range(min(len(free), 6)):
            for length in (1, 2, 3):
                stop = free[start : start + length]
                if not stop:
                    continue
                pieces = said(subject, prompt, replace(self.sampling, stop=("\0never", stop)))
                assert text_of(pieces) == free[: free.index(stop)]
                assert pieces[-1].stop is Stop.TEXT

    def test_a_stop_string_that_never_comes_changes_nothing(self, subject: Subject) -> None:
        prompt = subject.prompts[0]
        free = text_of(said(subject, prompt, self.sampling))
        near = free[-2:] + "\0"  # held back to the end, then released
        assert text_of(said(subject, prompt, replace(self.sampling, stop=(near,)))) == free

    @pytest.mark.parametrize("healed", ["r", "re", " whil", "é("])
    def test_healed_text_is_said_and_not_shown(self, subject: Subject, healed: str) -> None:
        for prompt in subject.prompts:
            pieces = said(subject, replace(prompt, healed=healed), self.sampling)
            spoken = subject.decode(ids_of(pieces))
            assert spoken.startswith(healed)
            assert text_of(pieces) == spoken[len(healed) :]

    def test_the_same_question_has_the_same_answer(self, subject: Subject) -> None:
        for prompt in (*subject.prompts, *subject.prompts):
            first, second = (said(subject, prompt, self.sampling) for _ in range(2))
            assert (text_of(first), ids_of(first), logprobs_of(first)) == (
                text_of(second),
                ids_of(second),
                logprobs_of(second),
            )

    def test_a_seed_repeats(self, subject: Subject) -> None:
        warm = replace(self.sampling, temperature=0.9, top_p=0.95, seed=7)
        for prompt in subject.prompts:
            assert ids_of(said(subject, prompt, warm)) == ids_of(said(subject, prompt, warm))

    def test_speculation_never_changes_the_answer(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            plain = said(subject, prompt, replace(self.sampling, max_tokens=48, speculate=False))
            drafted = said(subject, prompt, replace(self.sampling, max_tokens=48, speculate=True))
            assert (ids_of(plain), logprobs_of(plain), text_of(plain)) == (
                ids_of(drafted),
                logprobs_of(drafted),
                text_of(drafted),
            )

    @pytest.mark.parametrize("after", [0, 1, 2, 3])
    def test_a_closed_stream_leaves_no_trace(self, subject: Subject, after: int) -> None:
        expected = [ids_of(said(subject, p, self.sampling)) for p in subject.prompts]
        for prompt, ids in zip(subject.prompts, expected, strict=True):
            stream = subject.engine.stream(prompt, self.sampling)
            for _ in range(after):
                next(stream, None)
            before = subject.forwards()
            _close(stream)
            assert subject.forwards() == before
            assert ids_of(said(subject, prompt, self.sampling)) == ids

    def test_interleaved_streams_do_not_meet(self, subject: Subject) -> None:
        alone = [ids_of(said(subject, p, self.sampling)) for p in subject.prompts]
        streams = [subject.engine.stream(p, self.sampling) for p in subject.prompts]
        together: list[list[Piece]] = [[] for _ in streams]
        open_streams = dict(enumerate(streams))
        while open_streams:
            for n, stream in list(open_streams.items()):
                piece = next(stream, None)
                if piece is None:
                    del open_streams[n]
                else:
                    together[n].append(piece)
        assert [ids_of(pieces) for pieces in together] == alone

    def test_the_same_prompt_twice_at_once(self, subject: Subject) -> None:
        prompt = subject.prompts[0]
        alone = ids_of(said(subject, prompt, self.sampling))
        first, second = (subject.engine.stream(prompt, self.sampling) for _ in range(2))
        next(first, None)
        started = [piece for piece in (next(second, None),) if piece]
        next(first, None)
        _close(first)
        assert ids_of([*started, *second]) == alone

    def test_a_score_covers_the_target(self, subject: Subject) -> None:
        prompt = subject.prompts[0]
        for n in (0, 1, 40):
            target = (5,) * n
            scores = list(subject.engine.score(prompt, target))
            assert sum(len(s.logprobs) for s in scores) == n
            assert sum(len(s.greedy) for s in scores) == n

    def test_a_score_of_the_greedy_answer_is_greedy(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            pieces = said(subject, prompt, self.sampling)
            scores = list(subject.engine.score(prompt, ids_of(pieces)))
            assert all(flag for s in scores for flag in s.greedy)
            assert tuple(x for s in scores for x in s.logprobs) == pytest.approx(logprobs_of(pieces), abs=1e-4)

    def test_what_makes_no_sense_is_refused_before_the_first_piece(self, subject: Subject) -> None:
        engine, prompt, model = subject.engine, subject.prompts[0], subject.engine.model
        too_long = replace(prompt, token_ids=(1,) * model.context_tokens)
        outside = replace(prompt, token_ids=(model.vocab_size,))
        below = replace(prompt, token_ids=(-1,))
        for bad in (replace(prompt, token_ids=()), too_long, outside, below):
            with pytest.raises(BadRequest):
                next(engine.stream(bad, self.sampling))
            with pytest.raises(BadRequest):
                next(engine.score(bad, (1,)))
        for sampling in (
            Sampling(max_tokens=0),
            Sampling(temperature=-1.0),
            Sampling(temperature=math.nan),
            Sampling(top_p=0.0),
        ):
            with pytest.raises(BadRequest):
                next(engine.stream(prompt, sampling))
        for strength in (-0.1, 2.1, math.nan):
            with pytest.raises(BadRequest):
                next(engine.stream(prompt, self.sampling, subject.adapter, strength))
        with pytest.raises(BadRequest):
            next(engine.score(prompt, (model.vocab_size,)))
        with pytest.raises(BadRequest):
            next(engine.score(prompt, (1,) * model.context_tokens))

    def test_the_context_is_a_limit(self, subject: Subject) -> None:
        model, prompt = subject.engine.model, subject.prompts[0]
        ids = (prompt.token_ids * model.context_tokens)[: model.context_tokens - 2]
        pieces = said(subject, replace(prompt, token_ids=ids), self.sampling)
        assert len(ids_of(pieces)) <= 2
        assert pieces[-1].stop is not None

    def test_an_adapter_of_another_base_is_refused(self, subject: Subject) -> None:
        stranger = Adapter("stranger", "0" * 64, Path("nowhere"), 8, ("q_proj",))
        with pytest.raises(AdapterInvalid):
            next(subject.engine.stream(subject.prompts[0], self.sampling, stranger))
        with pytest.raises(AdapterInvalid):
            next(subject.engine.score(subject.prompts[0], (1,), stranger))

    def _counted(self, subject: Subject, stream: Iterator[T]) -> list[T]:
        """Drive a stream to its end, checking that no `next` runs two forwards."""
        out: list[T] = []
        while True:
            before = subject.forwards()
            piece = next(stream, None)
            assert subject.forwards() - before <= 1
            if piece is None:
                return out
            out.append(piece)


class AdapterLaws(EngineLaws):
    """For engines that really apply an adapter: `subject.adapter` is one that changes their answers."""

    def test_an_adapter_serves_only_who_asked(self, subject: Subject) -> None:
        assert subject.adapter is not None
        for prompt in subject.prompts:
            base = said(subject, prompt, self.sampling)
            tuned = said(subject, prompt, self.sampling, subject.adapter, 1.0)
            assert logprobs_of(tuned) != logprobs_of(base)
            assert logprobs_of(said(subject, prompt, self.sampling)) == logprobs_of(base)
            assert logprobs_of(said(subject, prompt, self.sampling, subject.adapter, 1.0)) == logprobs_of(tuned)
            off = said(subject, prompt, self.sampling, subject.adapter, 0.0)
            assert (ids_of(off), logprobs_of(off)) == (ids_of(base), logprobs_of(base))


def _close(stream: object) -> None:
    """Cancel, as a driver does."""
    stream.close()  # type: ignore[attr-defined]
