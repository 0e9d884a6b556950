"""Whatever comes, every request is answered once and no document diverges."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import fuzz
import pytest


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def hold(n_messages: int, seed: int) -> None:
    found = await fuzz.run(n_messages, seed)
    assert sorted(found.answered) == list(range(1, found.n_requests + 1))
    assert found.wrong == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_thousand_random_messages(seed: int) -> None:
    await hold(1_000, seed)


@pytest.mark.slow
async def test_twenty_thousand_random_messages() -> None:
    await hold(20_000, 0)
