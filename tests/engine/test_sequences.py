"""KV pages and sequences, against a cache that remembers nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_runtime.engines.protocol import Adapter
from local_runtime.errors import OutOfMemory
from local_runtime.tvm.run.pages import Pages, PageTable
from local_runtime.tvm.run.sequences import MAX_SEQUENCES, REWIND_LOSS_TOKENS, Key, Sequence, Sequences

PAGE = 4
BASE, TUNED, WEAKER = Key(), Key("a", 1.0), Key("a", 0.5)


class Written:
    """What the kernels would have written: for each slot, which key computed which token after which tokens."""

    def __init__(self, n_pages: int) -> None:
        self.slots: dict[tuple[int, int], tuple[Key, tuple[int, ...]]] = {}
        self.copies = 0
        self.pages = Pages(n_pages, PAGE, self.copy)
        self.sequences = Sequences(self.pages, 4096)

    def copy(self, source: int, target: int) -> None:
        self.copies += 1
        for slot in range(PAGE):
            if (source, slot) in self.slots:
                self.slots[target, slot] = self.slots[source, slot]

    def forward(self, sequence: Sequence, ids: list[int]) -> None:
        self.sequences.reserve(sequence, len(ids))
        said = [int(i) for i in sequence.token_ids[: sequence.n_tokens]]
        for i in ids:
            page = sequence.table.pages[len(said) // PAGE]
            said.append(i)
            self.slots[page, (len(said) - 1) % PAGE] = (sequence.key, tuple(said))
        self.sequences.commit(sequence, ids)

    def check(self, sequence: Sequence) -> None:
        """Every token the sequence claims was computed by its own key, after exactly the tokens it claims."""
        said = tuple(int(i) for i in sequence.token_ids[: sequence.n_tokens])
        for at in range(sequence.n_tokens):
            slot = self.slots[sequence.table.pages[at // PAGE], at % PAGE]
            assert slot == (sequence.key, said[: at + 1])


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.sampled_from([BASE, TUNED, WEAKER]),
            st.lists(st.integers(0, 1), min_size=1, max_size=30),
            st.sampled_from(["", "x", "y"]),
        ),
        st.tuples(st.just("write"), st.integers(0, 9), st.lists(st.integers(0, 1), min_size=1, max_size=9)),
        st.tuples(st.just("back"), st.integers(0, 9), st.integers(0, 40)),
        st.tuples(st.just("done"), st.integers(0, 9)),
        st.tuples(st.just("clear")),
    ),
    max_size=40,
)


@given(steps, st.integers(9, 40))
def test_no_state_but_ones_own(plan: list[tuple], n_pages: int) -> None:
    world = Written(n_pages)
    busy: list[Sequence] = []
    for step in plan:
        try:
            if step[0] == "ask":
                _, key, ids, document = step
                sequence = world.sequences.acquire(key, ids, document)
                busy.append(sequence)
                assert sequence.n_tokens < len(ids)
                assert [int(i) for i in sequence.token_ids[: sequence.n_tokens]] == ids[: sequence.n_tokens]
                world.check(sequence)
                world.forward(sequence, ids[sequence.n_tokens :])
            elif step[0] == "clear":
                world.sequences.clear()
            elif busy:
                sequence = busy[step[1] % len(busy)]
                if step[0] == "write":
                    world.forward(sequence, step[2])
                elif step[0] == "back":
                    world.sequences.rewind(sequence, min(step[2], sequence.n_tokens))
                else:
                    busy.remove(sequence)
                    world.sequences.release(sequence)
        except OutOfMemory:
            pass
        for sequence in busy:
            world.check(sequence)
    for sequence in busy:
        world.sequences.release(sequence)
    world.sequences.clear()
    assert len(world.sequences) == 0
    assert world.pages.n_free == n_pages


def ask(world: Written, ids: list[int], key: Key = BASE, document: str = "") -> tuple[Sequence, int]:
    """One request: how many tokens were reused."""
    sequence = world.sequences.acquire(key, ids, document)
    reused = sequence.n_tokens
    world.forward(sequence, ids[reused:])
    world.sequences.release(sequence)
    return sequence, reused


def test_typing_rewinds_and_never_grows() -> None:
    world = Written(200)
    text = list(range(100))
    for n in range(60, 100):
        _, reused = ask(world, text[:n])
        assert n == 60 or reused == n - 1
    assert len(world.sequences) == 1
    assert world.copies == 0


def test_another_text_with_the_same_beginning_is_forked() -> None:
    world = Written(200)
    shared = list(range(50))
    first = shared + [7] * 100
    ask(world, first)
    _, reused = ask(world, shared + [8] * 100)
    assert reused == len(shared)
    assert len(world.sequences) == 2
    assert ask(world, first)[1] == len(first) - 1
    assert world.pages.n_pages - world.pages.n_free < 2 * 38  # the shared pages are there once


def test_the_oldest_goes_first() -> None:
    world = Written(10)
    ask(world, [1] * 12)
    ask(world, [2] * 12)
    ask(world, [1] * 12)
    ask(world, [3] * 20)  # needs 5 pages, 4 are free
    assert ask(world, [1] * 12)[1] == 11
    assert ask(world, [2] * 12)[1] == 0


def test_a_full_cache_of_busy_sequences_says_so() -> None:
    world = Written(4)
    sequence = world.sequences.acquire(BASE, [1] * 16)
    world.forward(sequence, [1] * 16)
    with pytest.raises(OutOfMemory, match="room for 0 more tokens, 4 needed"):
        world.sequences.reserve(sequence, 1)
    world.check(sequence)


def test_there_is_a_limit_to_sequences() -> None:
    world = Written(1000)
    for n in range(MAX_SEQUENCES * 2):
        ask(world, [n, n])
    assert len(world.sequences) == MAX_SEQUENCES


def test_keys_are_apart() -> None:
    world = Written(200)
    ids = list(range(80))
    ask(world, ids)
    for key in (TUNED, WEAKER, Key("b", 1.0)):
        assert ask(world, ids, key)[1] == 0
        assert ask(world, ids, key)[1] == len(ids) - 1


def test_strength_zero_is_the_base() -> None:
    adapter = Adapter("a", "", Path("x"), 4, ())
    assert Key.of(adapter, 0.0) == Key.of(None, 1.0) == BASE
    assert Key.of(adapter, 1.0) == TUNED != Key.of(adapter, 0.5)


def test_a_small_loss_is_rewound_a_large_one_forked() -> None:
    for extra, kept in ((REWIND_LOSS_TOKENS, 1), (REWIND_LOSS_TOKENS + 1, 2)):
        world = Written(200)
        ask(world, [1] * 20 + [2] * extra)
        ask(world, [1] * 20 + [3] * 5)
        assert len(world.sequences) == kept


def test_a_shared_page_is_copied_before_it_is_written() -> None:
    copied: list[tuple[int, int]] = []
    pages = Pages(8, PAGE, lambda a, b: copied.append((a, b)))
    table = PageTable()
    pages.reserve(table, 6)
    table.n_tokens = 6
    fork = pages.fork(table, 6)
    pages.reserve(fork, 1)
    assert copied == [(table.pages[1], fork.pages[1])]
    assert table.pages[0] == fork.pages[0]
    pages.reserve(table, 1)
    assert len(copied) == 1  # the other one owns its page alone now
    whole = pages.fork(table, 4)
    pages.reserve(whole, 1)
    assert len(copied) == 1  # a full page is never written again
    for t in (table, fork, whole):
        pages.free(t)
    assert pages.n_free == 8
    assert np.array_equal(sorted(pages._free), np.arange(8))
