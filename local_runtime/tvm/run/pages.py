"""Pages of the KV cache: which tokens of which sequence lie in which page, and who shares them.

Only bookkeeping and the copy of a shared page; the kernels write. Layout (compiler): keys `[layer, page, kv_head, head_dim,
32]`, values `[layer, page, kv_head, 32, head_dim]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from local_runtime.errors import OutOfMemory


@dataclass(slots=True, eq=False)
class PageTable:
    """The pages of one sequence, and how many of its tokens are in them."""

    pages: list[int] = field(default_factory=list)
    n_tokens: int = 0


class KvPages(Protocol):
    """Which tokens of which sequence are kept, as `Sequences` needs it."""

    n_pages: int
    page_tokens: int

    @property
    def n_free(self) -> int:
        """Pages that nobody uses."""
        ...

    def table(self) -> PageTable:
        """A sequence without a token."""
        ...

    def needed(self, table: PageTable, n: int) -> int:
        """New pages that `reserve(table, n)` takes at most."""
        ...

    def reserve(self, table: PageTable, n: int) -> None:
        """Make room for `n` more tokens. Raises OutOfMemory."""
        ...

    def rewind(self, table: PageTable, n_tokens: int) -> None:
        """Forget all tokens after the first `n_tokens`."""
        ...

    def fork(self, table: PageTable, n_tokens: int) -> PageTable:
        """Another sequence that begins with the first `n_tokens`, or with none where there is no room."""
        ...

    def free(self, table: PageTable) -> None:
        """Forget the sequence."""
        ...


class Pages:
    """A pool of `n_pages` pages; `copy(from, to)` copies one page's contents."""

    def __init__(self, n_pages: int, page_tokens: int, copy: Callable[[int, int], None]) -> None:
        self.n_pages = n_pages
        self.page_tokens = page_tokens
        self._copy = copy
        self._free = list(range(n_pages))[::-1]
        self._users = [0] * n_pages

    @property
    def n_free(self) -> int:
        """Pages that nobody uses."""
        return len(self._free)

    def table(self) -> PageTable:
        """A sequence without a token."""
        return PageTable()

    def needed(self, table: PageTable, n: int) -> int:
        """New pages that `reserve(table, n)` takes from the pool."""
        return max(self._count(table.n_tokens + n) - len(table.pages), 0) + self._must_copy(table)

    def reserve(self, table: PageTable, n: int) -> None:
        """Make room for `n` more tokens in pages that only this sequence uses. `n_tokens` stays as it is."""
        if self.needed(table, n) > self.n_free:
            raise OutOfMemory(f"the KV cache has {self.n_free} free pages; {self.needed(table, n)} are needed")
        if self._must_copy(table):
            shared, own = table.pages[-1], self._take()
            self._copy(shared, own)
            self._drop(shared)
            table.pages[-1] = own
        while len(table.pages) < self._count(table.n_tokens + n):
            table.pages.append(self._take())

    def rewind(self, table: PageTable, n_tokens: int) -> None:
        """Forget all tokens after the first `n_tokens`, and reserved room."""
        table.n_tokens = n_tokens
        while len(table.pages) > self._count(n_tokens):
            self._drop(table.pages.pop())

    def fork(self, table: PageTable, n_tokens: int) -> PageTable:
        """Another sequence that shares the first `n_tokens`."""
        pages = table.pages[: self._count(n_tokens)]
        for page in pages:
            self._users[page] += 1
        return PageTable(pages, n_tokens)

    def free(self, table: PageTable) -> None:
        """Give all pages back."""
        self.rewind(table, 0)

    def _count(self, n_tokens: int) -> int:
        return -(-n_tokens // self.page_tokens)

    def _must_copy(self, table: PageTable) -> bool:
        """Whether the next token falls into a page that another sequence uses too."""
        partial = table.n_tokens % self.page_tokens != 0 and len(table.pages) == self._count(table.n_tokens)
        return partial and self._users[table.pages[-1]] > 1

    def _take(self) -> int:
        page = self._free.pop()
        self._users[page] = 1
        return page

    def _drop(self, page: int) -> None:
        self._users[page] -= 1
        if not self._users[page]:
            self._free.append(page)
