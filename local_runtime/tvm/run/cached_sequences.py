"""Sequences in TVM's paged KV cache, which does its own bookkeeping: who has how much, who shares what with whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_runtime.errors import OutOfMemory
from local_runtime.tvm.run.pages import PageTable
from local_runtime.tvm.run.tensors import ffi


@dataclass(slots=True, eq=False)
class CachedSequence(PageTable):
    """One of the cache's sequences. `n_cached` tokens are in it, of which `n_tokens` are meant to stay."""

    number: int = -1
    n_cached: int = 0


class CachedSequences:
    """`pages.KvPages` of TVM's cache. Its pages are counted by itself, so what is needed is said with one to spare."""

    def __init__(self, cache: Any, page_tokens: int) -> None:
        """`cache` is empty: its free pages are all it has."""
        self.page_tokens = page_tokens
        self.cache = cache
        self.n_pages = self.n_free
        self._next = 0

    @property
    def n_free(self) -> int:
        """Pages that nobody uses."""
        available = ffi().get_global_func("vm.builtin.attention_kv_cache_get_num_available_pages")
        return int(available(self.cache))

    def table(self) -> CachedSequence:
        """A sequence without a token."""
        made = self._numbered()
        self.call("add_sequence", made.number)
        return made

    def needed(self, table: PageTable, n: int) -> int:
        """Whole pages for `n` tokens, and one: a page that is shared is copied before it is written."""
        return -(-n // self.page_tokens) + 1

    def reserve(self, table: PageTable, n: int) -> None:
        """TVM takes pages as a forward begins; here it is only made sure that there are enough."""
        if self.needed(table, n) > self.n_free:
            raise OutOfMemory(f"the KV cache has {self.n_free} free pages; {self.needed(table, n)} are needed")

    def rewind(self, table: PageTable, n_tokens: int) -> None:
        """Forget all tokens after the first `n_tokens`: all of them, if what stays is shared and there is no page to copy to."""
        sequence = cached(table)
        if n_tokens and n_tokens < sequence.n_cached and not self.n_free:
            n_tokens = 0
        if n_tokens == 0 and sequence.n_cached:
            self.call("remove_sequence", sequence.number)
            self.call("add_sequence", sequence.number)
        elif n_tokens < sequence.n_cached:
            self.call("popn", sequence.number, sequence.n_cached - n_tokens)
        sequence.n_tokens = sequence.n_cached = n_tokens

    def fork(self, table: PageTable, n_tokens: int) -> CachedSequence:
        """Another sequence that begins with the first `n_tokens`, or with none where there is no page to copy to."""
        if not n_tokens or not self.n_free:
            return self.table()
        made = self._numbered()
        self.call("fork_sequence", cached(table).number, made.number, n_tokens)
        made.n_tokens = made.n_cached = n_tokens
        return made

    def free(self, table: PageTable) -> None:
        """Give all of it back."""
        self.call("remove_sequence", cached(table).number)

    def call(self, name: str, *arguments: Any) -> None:
        """One of the functions that TVM has for its caches."""
        ffi().get_global_func(f"vm.builtin.kv_state_{name}")(self.cache, *arguments)

    def _numbered(self) -> CachedSequence:
        self._next += 1
        return CachedSequence(number=self._next)


def cached(table: PageTable) -> CachedSequence:
    """The table as what `CachedSequences` made it."""
    assert isinstance(table, CachedSequence)
    return table
