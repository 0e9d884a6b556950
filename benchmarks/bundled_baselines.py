"""The baselines of the bundled model: an interpolated n-gram of its own tokens, and copying what followed before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ORDER = 5
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class _Counts:
    """N-grams of one order, sorted by context: `contexts[i]`, its next `tokens[i]`, seen `counts[i]` times."""

    contexts: Array
    tokens: Array
    counts: Array


class NGram:
    """Witten-Bell interpolation from order 5 down to the uniform distribution. Contexts are 64-bit hashes of token ids."""

    def __init__(self, documents: Iterable[Sequence[int]], vocab_size: int) -> None:
        self._vocab_size = vocab_size
        separated = [np.array([-1] * (ORDER - 1) + list(ids), np.int64) for ids in documents]
        stream = np.concatenate(separated)
        real = stream >= 0
        self._orders = [self._count(stream, real, order) for order in range(1, ORDER + 1)]

    def _count(self, stream: Array, real: Array, order: int) -> _Counts:
        context = np.zeros(len(stream), np.uint64)
        for back in range(order - 1, 0, -1):
            context = _extend(context, np.concatenate((np.full(back, -1), stream[:-back])))
        context, token = context[real], stream[real]
        by_context = np.lexsort((token, context))
        context, token = context[by_context], token[by_context]
        first = np.flatnonzero(np.concatenate(([True], (context[1:] != context[:-1]) | (token[1:] != token[:-1]))))
        counts = np.diff(np.concatenate((first, [len(context)])))
        return _Counts(context[first], token[first].astype(np.int32), counts)

    def distribution(self, history: Sequence[int]) -> Array:
        """Probability of each next token `[vocab]`, given the ids before it."""
        p = np.full(self._vocab_size, 1 / self._vocab_size)
        padded = [-1] * (ORDER - 1) + list(history[-(ORDER - 1) :])
        for order, counts in enumerate(self._orders, start=1):
            context = np.zeros(1, np.uint64)
            for token in padded[len(padded) - order + 1 :]:
                context = _extend(context, np.array([token]))
            begin = np.searchsorted(counts.contexts, context[0], "left")
            end = np.searchsorted(counts.contexts, context[0], "right")
            if begin == end:
                break
            seen, n_types = counts.counts[begin:end], end - begin
            total = seen.sum() + n_types
            p *= n_types / total
            p[counts.tokens[begin:end]] += seen / total
        return p


def copied_line(prefix: str, suffix: str, least_chars: int = 3) -> str:
    """The rest of the line that followed the longest earlier occurrence of the text before the cursor; "" without one.

    The text is matched within the cursor's line and the line above it, in the prefix first (nearest), then in the suffix.
    """
    lines = prefix.split("\n")
    near = "\n".join(lines[-2:])
    for start in range(len(near) - least_chars + 1):
        key = near[start:]
        at = prefix.rfind(key, 0, len(prefix) - 1)
        if at >= 0:
            return prefix[at + len(key) :].split("\n", 1)[0]
        at = suffix.find(key)
        if at >= 0:
            return suffix[at + len(key) :].split("\n", 1)[0]
    return ""


def _extend(context: Array, token: Array) -> Array:
    """A polynomial hash over ids; -1 is the place before a document."""
    return context * np.uint64(0x9E3779B97F4A7C15) + (token + 2).astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
