"""The baselines do what they say: a weak baseline would flatter the model."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def baselines() -> Iterator[ModuleType]:
    path = Path(__file__).parents[2] / "benchmarks" / "bundled_baselines.py"
    spec = importlib.util.spec_from_file_location("bundled_baselines", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_an_ngram_is_a_distribution_and_remembers_its_corpus(baselines: ModuleType) -> None:
    rng = random.Random(0)
    documents = [[rng.randrange(40) for _ in range(200)] for _ in range(5)] + [[1, 2, 3, 4, 5, 6] * 30]
    ngram = baselines.NGram(documents, vocab_size=50)
    for history in ([], [7], [1, 2, 3, 4], [49, 49, 49, 49, 49]):
        p = ngram.distribution(history)
        assert p.sum() == pytest.approx(1)
        assert (p > 0).all()
    assert ngram.distribution([2, 3, 4, 5]).argmax() == 6
    assert ngram.distribution([2, 3, 4, 5])[6] > 0.9


def test_an_ngram_is_witten_bell(baselines: ModuleType) -> None:
    """By hand, for two orders: after 1 came 2 twice and 3 once."""
    ngram = baselines.NGram([[1, 2], [1, 2], [1, 3]], vocab_size=10)
    lower = {2: (2 + 3 / 10) / 9, 3: (1 + 3 / 10) / 9, 1: (3 + 3 / 10) / 9}
    # At a document's beginning every order up to five knows this context: the interpolation is applied four times.
    expected = lower[2]
    for _ in range(4):
        expected = (2 + 2 * expected) / 5
    assert ngram.distribution([1])[2] == pytest.approx(expected)


def test_copying_takes_what_followed_the_longest_match(baselines: ModuleType) -> None:
    prefix = "self.width = config.width\nself.height = config.height\n\nself.width = "
    assert baselines.copied_line(prefix, "") == "config.width"
    assert baselines.copied_line("a.call(", "b = a.call(7)\n") == "7)"
    assert baselines.copied_line("nothing like it", "") == ""
