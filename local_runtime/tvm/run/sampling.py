"""From logits to a token: greedy, temperature, nucleus, seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from local_runtime.engines.protocol import Sampling

Logits = NDArray[np.float32]
"""One row, float32 `[vocab_size]`."""
Ids = NDArray[np.int64]


class Sampler:
    """Chooses the tokens of one completion, in order.

    One random number is drawn per token and from nothing else, so choosing from the rows of a verification gives exactly
    the tokens that single decodes would have given, with sampling as with greedy.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._temperature = sampling.temperature
        self._top_p = sampling.top_p
        self._random = np.random.default_rng(sampling.seed) if sampling.temperature > 0 else None

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self._random is None

    def choose(self, logits: Logits, allowed: Ids | None = None) -> int:
        """A token id; one of `allowed` if given (not empty)."""
        row = logits if allowed is None else logits[allowed]
        at = int(row.argmax()) if self._random is None else self._draw(row, self._random.random())
        return at if allowed is None else int(allowed[at])

    def _draw(self, row: Logits, u: float) -> int:
        """The token at `u` of the nucleus: the fewest most likely tokens whose probabilities reach `top_p`."""
        scaled = (row.astype(np.float64) - row.max()) / self._temperature
        weights = np.exp(scaled)
        order = np.argsort(-weights, kind="stable")
        total = np.cumsum(weights[order])
        if self._top_p < 1:
            total = total[: int(np.searchsorted(total, self._top_p * total[-1])) + 1]
        return int(order[min(int(np.searchsorted(total, u * total[-1], side="right")), len(total) - 1)])
