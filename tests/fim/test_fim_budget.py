"""Any hole fits its budget, and typing changes the end of a prompt alone."""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_runtime.prompts.fim import Budget, FimTokenizer, heal
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.prompts.window import blocks_above, blocks_below

SMALL = Budget(related_tokens=60, prefix_tokens=50, suffix_tokens=30, line_tokens=10)
LINES = st.lists(st.text("ab (=\t\u00e9\U0001f600", max_size=40), max_size=60).map("\n".join)
RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@given(
    prefix=LINES | st.text(max_size=300),
    suffix=LINES,
    chunks=st.lists(st.builds(Chunk, st.text(max_size=200), LINES), max_size=5),
    budget=st.builds(Budget, *[st.integers(0, 80)] * 4),
)
@RELAXED
def test_no_prompt_is_longer_than_its_budget(
    fim: FimTokenizer, prefix: str, suffix: str, chunks: list[Chunk], budget: Budget
) -> None:
    prompt = fim.prompt(Hole("some/where.py", "python", prefix, suffix), chunks, budget)
    assert 0 < len(prompt.token_ids) <= budget.n_tokens


@given(context_tokens=st.integers(0, 100_000), max_tokens=st.integers(-5, 10**9))
def test_a_budget_leaves_room_for_the_completion(context_tokens: int, max_tokens: int) -> None:
    budget = Budget().within(context_tokens, max_tokens)
    if context_tokens >= 200:
        assert budget.n_tokens + min(max(max_tokens, 0), context_tokens // 2) <= context_tokens
    assert min(budget.related_tokens, budget.prefix_tokens, budget.suffix_tokens, budget.line_tokens) >= 0


def lines(n: int, start: int = 0) -> str:
    return "".join(f"value_{i} = compute({i}, {'x' * (i * 7 % 40)})\n" for i in range(start, start + n))


@given(above=st.integers(0, 120), typed=st.text("abc. (=é", min_size=1, max_size=60))
@RELAXED
def test_typing_changes_only_what_comes_after_the_middle_sentinel(fim: FimTokenizer, above: int, typed: str) -> None:
    chunks = [Chunk("other.py", lines(5))]
    empty = fim.prompt(Hole("a.py", "python", lines(above), "\n" + lines(9)), chunks, SMALL).token_ids
    for end in range(1, len(typed) + 1):
        ids = fim.prompt(Hole("a.py", "python", lines(above) + typed[:end], "\n" + lines(9)), chunks, SMALL).token_ids
        assert ids[: len(empty)] == empty


def test_a_line_longer_than_its_budget_moves_in_steps(fim: FimTokenizer) -> None:
    """Sixty keystrokes at the end of a very long line: the ids before its end are thrown away a few times only."""
    previous: tuple[int, ...] = ()
    moves = 0
    for n in range(400, 460):
        line = "".join(f"{chr(97 + i % 26)}," for i in range(n))
        ids = fim.prompt(Hole("a.py", "python", line, ""), (), Budget(line_tokens=64)).token_ids
        moves += bool(previous) and ids[: len(previous) - 4] != previous[:-4]
        previous = ids
    assert 0 < moves <= 25


def test_the_window_of_a_long_file_moves_seldom(ours: FimTokenizer) -> None:
    """Forty lines typed at the end of a long file: between two moves, each prompt's prefix only grows."""
    starts = set()
    for n in range(200, 240):
        ids = ours.prompt(Hole("a.py", "python", lines(n), "")).token_ids
        starts.add(ids[:30])
    assert 1 < len(starts) <= 6


def test_windows_are_whole_lines(ours: FimTokenizer) -> None:
    text = lines(3000)
    above = list(blocks_above(text, 512, 4000))
    assert text.endswith("".join(reversed(above)))
    below = list(blocks_below(text, 128, 1000))
    assert text.startswith("".join(below))
    assert all(block.endswith("\n") for block in (*above, *below))


@given(text=st.text("ab\n", max_size=400), block_chars=st.integers(1, 50), max_chars=st.integers(0, 500))
def test_blocks_join_to_the_text(text: str, block_chars: int, max_chars: int) -> None:
    above = "".join(reversed(list(blocks_above(text, block_chars, max_chars))))
    below = "".join(blocks_below(text, block_chars, max_chars))
    assert text.endswith(above)
    assert text.startswith(below)
    assert len(above) <= max_chars
    assert len(below) <= max_chars
    if len(text) <= max_chars:
        assert above == below == text


@given(before=st.text("ab\n", max_size=200), line=st.text("ab", max_size=20))
def test_a_new_line_leaves_the_blocks_above_as_they_were(before: str, line: str) -> None:
    text = before + "\n"
    old = list(reversed(list(blocks_above(text, 16, 10_000))))
    new = list(reversed(list(blocks_above(text + line + "\n", 16, 10_000))))
    assert new[: len(old) - 1] == old[:-1]


def test_related_pieces_keep_their_order_and_the_first_that_is_too_long_is_cut(ours: FimTokenizer) -> None:
    chunks = [Chunk("a.py", "a = 1\n"), Chunk("b.py", lines(400)), Chunk("c.py", "c = 1\n")]
    ids = ours.prompt(Hole("h.py", "python", "", ""), chunks).token_ids
    head = ours.prompt(Hole("h.py", "python", "", ""), chunks[:1]).token_ids
    marker = ours.encode("a.py\n") + ours.encode("a = 1\n")
    assert ids[1 : 1 + len(marker)] == head[1 : 1 + len(marker)] == marker
    assert len(ids) > 400
    tail = ours.encode("c = 1\n")
    assert not any(ids[i : i + len(tail)] == tail for i in range(len(ids)))


def test_a_file_of_fifty_thousand_lines_is_not_tokenised_whole(
    ours: FimTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = lines(50_000)
    seen = 0
    encode = ours.encode

    def counting(piece: str) -> tuple[int, ...]:
        nonlocal seen
        seen += len(piece)
        return encode(piece)

    monkeypatch.setattr(ours, "encode", counting)
    ours.prompt(Hole("a.py", "python", text, text))
    assert 0 < seen < 20_000


@pytest.mark.parametrize(
    ("line", "stays", "healed"),
    [
        ("    retu", "   ", " retu"),
        ("self.tok", "self", ".tok"),
        ("x = ", "x =", " "),
        ("f(", "f(", ""),
        ("", "", ""),
        ("a" * 40, "a" * 8, "a" * 32),
        ("\t", "\t", ""),
    ],
)
def test_healing_takes_back_the_unfinished_word(line: str, stays: str, healed: str) -> None:
    assert heal(line) == (stays, healed)


def test_importing_fim_is_light() -> None:
    """No compiler, no training stack, not even the tokenizer before a folder is opened."""
    import subprocess  # noqa: PLC0415

    heavy = "tvm tvm_ffi torch transformers tokenizers numpy tree_sitter detect_secrets"
    code = f"import sys, local_runtime.prompts.fim; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
