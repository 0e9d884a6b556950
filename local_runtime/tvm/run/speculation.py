"""Speculative decoding by prompt lookup: what followed the same tokens before is drafted, and verified in one forward.

The draft never decides anything: each token is chosen from the verified row as it would have been after single decodes, and
the first that differs from the draft ends it. Only speed changes. (Saxena, "Prompt Lookup Decoding", 2023.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_DRAFT = 12
MAX_MATCH = 8
MAX_CANDIDATES = 16
FADING = 0.98


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may come next, and how many tokens before them matched."""

    token_ids: tuple[int, ...] = ()
    match: int = 0


class Pace:
    """How long a step with so many drafted tokens takes, in plain steps. Learnt while it runs: it depends on the model."""

    def __init__(self) -> None:
        self._seconds = [0.0] * (MAX_DRAFT + 1)

    def learn(self, n_drafted: int, seconds: float) -> None:
        """One step took so long; a spike counts as twice the usual."""
        known = self._seconds[n_drafted]
        self._seconds[n_drafted] = known + 0.2 * (min(seconds, 2 * known) - known) if known else seconds

    def cost(self, n_drafted: int) -> float:
        """Time of a step; as measured for a model of 46M until it is known better."""
        plain, drafted = self._seconds[0], self._seconds[n_drafted]
        return drafted / plain if plain and drafted else 1.1 + 0.1 * n_drafted


class Acceptance:
    """How often drafted tokens were right, by the length of the match they came from. Lives as long as the engine."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._right = [0.0] * (MAX_MATCH + 1)
        self._drafted = [0.0] * (MAX_MATCH + 1)

    def draft_length(self, match: int) -> int:
        """The length with the most expected tokens per time: (1 + p + … + p^k) / cost(k).

        Old news fades each time it is asked for, so what never pays is tried again now and then.
        """
        self._right[match] *= FADING
        self._drafted[match] *= FADING
        p = (1 + match + self._right[match]) / (3 + match + self._drafted[match])
        best, best_rate, expected = 0, 1.0, 1.0
        for k in range(1, MAX_DRAFT + 1):
            expected += p**k
            rate = expected / self.pace.cost(k)
            if rate > best_rate:
                best, best_rate = k, rate
        return best

    def learn(self, draft: Draft, n_right: int, *, ended: bool = False) -> None:
        """One verification: `n_right` tokens were right, and then one was wrong, unless the draft or the completion ended."""
        self._right[draft.match] += n_right
        self._drafted[draft.match] += n_right + (n_right < len(draft.token_ids) and not ended)


class PromptLookup:
    """Where in one text its last two tokens stood before. Searched anew each time: a prompt is compared in microseconds."""

    def __init__(self, token_ids: Sequence[int], acceptance: Acceptance) -> None:
        self._ids = np.array(token_ids, np.int32)
        self._n = len(token_ids)
        self._acceptance = acceptance

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens."""
        n = self._n + len(token_ids)
        if n > len(self._ids):
            self._ids = np.concatenate([self._ids[: self._n], np.empty(n, np.int32)])
        self._ids[self._n : n] = token_ids
        self._n = n

    def draft(self, limit: int) -> Draft:
        """Up to `limit` tokens that followed the longest earlier match of the text's end; among equals, the latest."""
        if self._n < 3:
            return Draft()
        text = self._ids[: self._n]
        pairs = np.flatnonzero((text[:-2] == text[-2]) & (text[1:-1] == text[-1]))
        ids = text.data  # indexing the array itself makes an object of numpy's each time
        best, best_length, end = 0, 0, self._n - 1
        for at in (pairs[: -MAX_CANDIDATES - 1 : -1] + 1).tolist():
            length = 2
            while length < MAX_MATCH and length <= at and ids[at - length] == ids[end - length]:
                length += 1
            if length > best_length:
                best, best_length = at, length
            if length == MAX_MATCH:
                break
        if not best:
            return Draft()
        drafted: list[int] = []
        for n in range(min(self._acceptance.draft_length(best_length), limit)):  # beyond the end: the same again
            drafted.append(ids[best + 1 + n] if best + n < end else drafted[best + n - end])
        return Draft(tuple(drafted), best_length)
