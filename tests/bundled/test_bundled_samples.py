"""Samples: every triple whole, and in the very layout that fim gives at run time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tokenizers import Tokenizer

from local_runtime.fim import FimTokenizer
from local_runtime.hole import Hole
from trainer.batches import pad_together
from trainer.pretrain.corpus import Document
from trainer.pretrain.samples import BUDGETS, PLAIN_SHARE, TARGET_WEIGHT, SampleMaker
from trainer.spans import MAX_MIDDLE_CHARS, SHAPES, Shape, block_end, draw_span

N = 300
END, PREFIX, SUFFIX, MIDDLE = 0, 1, 2, 3


@pytest.fixture(scope="module")
def maker(fim: FimTokenizer, documents: list[Document]) -> SampleMaker:
    return SampleMaker(fim, documents, seed=7)


def test_every_triple_is_whole(maker: SampleMaker) -> None:
    n_plain = 0
    for number in range(N):
        sample = maker.sample(number)
        frame = [i for i in sample.token_ids if i in (END, PREFIX, SUFFIX, MIDDLE)]
        if sample.token_ids[0] == END:
            n_plain += 1
            continue
        assert frame == [PREFIX, SUFFIX, MIDDLE, END]
        assert sample.token_ids[-1] == END
    assert n_plain / N == pytest.approx(PLAIN_SHARE, abs=0.05)


def test_a_sample_is_the_prompt_then_the_middle_then_the_end(
    maker: SampleMaker, fim: FimTokenizer, documents: list[Document], tokenizer: Tokenizer
) -> None:
    """Rebuilt from its text, by the function that serves."""
    checked = 0
    for number in range(N):
        sample = maker.sample(number)
        n_target = sum(weight == TARGET_WEIGHT for weight in sample.weights)
        if sample.token_ids[0] == END:
            continue
        prompt, target = sample.token_ids[:-n_target], sample.token_ids[-n_target:]
        middle = tokenizer.decode(list(target[:-1]))
        above = tokenizer.decode([i for i in prompt[prompt.index(PREFIX) + 1 : prompt.index(SUFFIX)]])
        below = tokenizer.decode([i for i in prompt[prompt.index(SUFFIX) + 1 : prompt.index(MIDDLE)]])
        line = tokenizer.decode(list(prompt[prompt.index(MIDDLE) + 1 :]))
        whole = above + line + middle + below
        homes = [d for d in documents if whole in d.text]
        assert homes, "prefix, line, middle and suffix join into a piece of the file"
        at = homes[0].text.index(whole)
        start, stop = at + len(above + line), at + len(above + line + middle)
        assert "\n" not in line
        if len(homes) == 1 and homes[0].text.count(whole) == 1:
            hole = Hole(homes[0].path, "python", homes[0].text[:start], homes[0].text[stop:])
            served = [fim.prompt(hole, budget=budget).token_ids for _, budget in BUDGETS]
            at_header = (
                len(prompt) - prompt[::-1].index(4) - 1
            )  # the last <file_sep>: what stands before is related text
            assert prompt[at_header:] in served
            checked += 1
    assert checked > N / 2


def test_related_text_of_the_same_package_comes_first_in_a_third(maker: SampleMaker) -> None:
    holes = [s.token_ids for s in map(maker.sample, range(N)) if s.token_ids[0] != END]
    related = [ids for ids in holes if ids.count(4) > 1]
    assert len(related) / len(holes) == pytest.approx(1 / 3, abs=0.08)
    assert all(ids[0] == 4 and ids.index(PREFIX) > 8 for ids in related)


def test_a_number_always_gives_the_same_sample(
    fim: FimTokenizer, documents: list[Document], maker: SampleMaker
) -> None:
    again = SampleMaker(fim, documents, seed=7)
    assert [again.sample(n) for n in (5, 3, 99)] == [maker.sample(n) for n in (5, 3, 99)]
    assert SampleMaker(fim, documents, seed=8).sample(5) != maker.sample(5)


def test_sentinels_in_a_prompt_are_never_learnt(maker: SampleMaker) -> None:
    for number in range(50):
        sample = maker.sample(number)
        learnt = {i for i, weight in zip(sample.token_ids, sample.weights, strict=True) if weight}
        assert learnt & {PREFIX, SUFFIX, MIDDLE, 4, 5} == set()


def test_spans_have_their_shapes(documents: list[Document]) -> None:
    rng = random.Random(1)
    text = documents[0].text
    drawn = [draw_span(text, rng) for _ in range(2000)]
    shares = Counter(span.shape for span in drawn)
    for shape, share in SHAPES.items():
        assert shares[shape] / len(drawn) == pytest.approx(share, abs=0.04)
    for span in drawn:
        middle = text[span.start : span.end]
        assert len(middle) <= MAX_MIDDLE_CHARS
        if span.shape is Shape.LINE:
            assert "\n" not in middle
            assert text[span.end : span.end + 1] in ("\n", "")
        elif span.shape is Shape.EMPTY:
            assert middle == ""
        elif span.shape is Shape.INSIDE:
            assert "\n" not in middle


def test_a_block_ends_before_a_lesser_indentation_or_a_blank_line() -> None:
    text = "def f():\n    a = 1\n    if a:\n        b = 2\n        c = 3\n    return b\n\nx = 1\n"
    inner = text.index("        b")
    assert text[inner : block_end(text, inner, 12)] == "        b = 2\n        c = 3"
    outer = text.index("    a")
    assert text[: block_end(text, outer, 12)].endswith("return b")
    assert text[outer : block_end(text, outer, 2)].count("\n") == 1
    braces = "if (a) {\n  b();\n}\nc();\n"
    assert braces[: block_end(braces, 0, 12)] == "if (a) {\n  b();\n}"


def test_padding_has_no_weight_and_no_sample_is_lost(maker: SampleMaker) -> None:
    samples = [maker.sample(number) for number in range(24)]
    batches = pad_together(samples, 4096, END)
    assert sum(int((b.weights > 0).sum()) for b in batches) == sum(w > 0 for s in samples for w in s.weights)
    assert all(b.token_ids.numel() <= 4096 or b.token_ids.shape[0] == 1 for b in batches)
    rows = [tuple(row.tolist()) for b in batches for row in b.token_ids]
    assert all(any(row[: len(s.token_ids)] == s.token_ids for row in rows) for s in samples)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: object) -> Tokenizer:
    return Tokenizer.from_file(f"{tokenizer_folder}/tokenizer.json")
