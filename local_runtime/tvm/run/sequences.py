"""Which tokens are already computed: sequences kept after a completion, and reused by the longest common prefix.

A sequence belongs to one `Key`, and only a request with the same key ever sees it: no state of one adapter or strength can
serve another.
"""

from __future__ import annotations

from collections.abc import Sequence as Row
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from local_runtime.engines.protocol import Adapter
from local_runtime.errors import OutOfMemory
from local_runtime.tvm.run.pages import KvPages, PageTable

REWIND_LOSS_TOKENS = 64
"""A sequence is rewound if that forgets no more than this; else it is forked, since its end may be asked for again."""
MAX_SEQUENCES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """What computed a state: nothing but the base when there is no adapter, or its strength is 0."""

    adapter_id: str | None = None
    strength: float = 0.0

    @classmethod
    def of(cls, adapter: Adapter | None, strength: float) -> Key:
        """The key of a request."""
        return cls(adapter.id, strength) if adapter is not None and strength != 0 else cls()


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens whose keys and values are in the cache. `busy` while a stream holds it."""

    key: Key
    table: PageTable
    document: str
    capacity: int
    token_ids: NDArray[np.int32] = field(init=False)
    busy: bool = True
    last_used: int = 0

    def __post_init__(self) -> None:
        self.token_ids = np.empty(self.capacity, np.int32)

    @property
    def n_tokens(self) -> int:
        """How many tokens are computed."""
        return self.table.n_tokens

    def common(self, token_ids: NDArray[np.int32]) -> int:
        """Length of the common prefix."""
        n = min(self.n_tokens, len(token_ids))
        differs = self.token_ids[:n] != token_ids[:n]
        return int(differs.argmax()) if differs.any() else n


class Sequences:
    """All sequences of one model, within the pages there are."""

    def __init__(self, pages: KvPages, context_tokens: int) -> None:
        self._pages = pages
        self._capacity = context_tokens
        self._kept: list[Sequence] = []
        self._clock = 0

    def __len__(self) -> int:
        return len(self._kept)

    def acquire(self, key: Key, token_ids: Row[int], document: str = "") -> Sequence:
        """A sequence that holds a prefix of `token_ids`, the longest there is, but never the last token: its logits are wanted."""
        wanted = np.asarray(token_ids, np.int32)[:-1]
        best, n = self._best(key, wanted, document)
        if best is None or n == 0:
            sequence = Sequence(key, self._pages.table(), document, self._capacity)
        elif not best.busy and best.n_tokens - n <= REWIND_LOSS_TOKENS:
            sequence = best
            self._kept.remove(best)
            self._pages.rewind(best.table, n)
            sequence.busy, sequence.document = True, document
        else:
            sequence = Sequence(key, self._pages.fork(best.table, n), document, self._capacity)
            sequence.token_ids[:n] = wanted[:n]
            self._touch(best)
        self._kept.append(sequence)
        self._touch(sequence)
        self._make_room(0, len(self._kept) - MAX_SEQUENCES)
        return sequence

    def reserve(self, sequence: Sequence, n: int) -> None:
        """Make room for `n` more tokens, if need be at the cost of the sequences unused for longest."""
        self._make_room(self._pages.needed(sequence.table, n), 0)
        self._pages.reserve(sequence.table, n)

    def commit(self, sequence: Sequence, token_ids: Row[int]) -> None:
        """A forward has written these tokens into the reserved room."""
        n = sequence.n_tokens
        sequence.token_ids[n : n + len(token_ids)] = token_ids
        sequence.table.n_tokens = n + len(token_ids)

    def rewind(self, sequence: Sequence, n_tokens: int) -> None:
        """Keep only the first `n_tokens`."""
        self._pages.rewind(sequence.table, n_tokens)

    def release(self, sequence: Sequence) -> None:
        """The stream is over; the sequence stays for the next one."""
        self._pages.rewind(sequence.table, sequence.n_tokens)
        sequence.busy = False
        self._touch(sequence)

    def clear(self) -> None:
        """Forget all sequences that no stream holds."""
        for sequence in [s for s in self._kept if not s.busy]:
            self._evict(sequence)

    def _best(self, key: Key, wanted: NDArray[np.int32], document: str) -> tuple[Sequence | None, int]:
        """The sequence with the longest common prefix; among equals an idle one, of the same document, the latest."""
        own = [
            (s.common(wanted), not s.busy, s.document == document, s.last_used, s) for s in self._kept if s.key == key
        ]
        if not own:
            return None, 0
        n, *_, best = max(own, key=lambda entry: entry[:4])
        return best, n

    def _make_room(self, n_pages: int, n_sequences: int) -> None:
        """Evict idle sequences, oldest first, until so many pages are free and so many sequences are gone."""
        idle = sorted((s for s in self._kept if not s.busy), key=lambda s: s.last_used)
        for sequence in idle:
            if self._pages.n_free >= n_pages and n_sequences <= 0:
                return
            self._evict(sequence)
            n_sequences -= 1
        if self._pages.n_free < n_pages:
            size, free = self._pages.page_tokens, self._pages.n_free
            raise OutOfMemory(
                f"the KV cache is full of requests in progress: room for {free * size} more tokens, {n_pages * size} needed",
                "set a larger kv_cache_mb, or ask for less at once",
            )

    def _evict(self, sequence: Sequence) -> None:
        self._pages.free(sequence.table)
        self._kept.remove(sequence)

    def _touch(self, sequence: Sequence) -> None:
        self._clock += 1
        sequence.last_used = self._clock
