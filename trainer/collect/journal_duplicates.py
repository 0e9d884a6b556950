"""Edits that add what another one added before: kept beside it, learnt from only when that one is forgotten.

So a journal that has forgotten something is what it would be had it never seen it, also where other files held nearly the same.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainer.collect.changes import added_lines
from trainer.collect.duplicates import SIMILARITY, Fingerprint, fingerprint, similarity
from trainer.collect.journal_texts import Texts
from trainer.collect.refusals import Refusal, Refused

_CANDIDATES_PER_BAND = 20


@dataclass(frozen=True, slots=True)
class _Row:
    """What is needed of an edit to compare it."""

    id: int
    path: str
    root: str
    saved: float
    sha256: bytes
    original: int | None
    before: int
    after: int


class Duplicates:
    """Which edits of a journal are duplicates of which. Changes are made inside the journal's transactions."""

    def __init__(self, connection: sqlite3.Connection, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    def original(self, found: Fingerprint, *, older_than: int | None = None) -> tuple[int, Refusal] | None:
        """The first edit that is learnt from and adds the same, or nearly; and which of both."""
        alike = (one for one in self._alike(found) if older_than is None or one[0] < older_than)
        return next(alike, None)

    def index(self, id_: int, found: Fingerprint) -> None:
        """Have an edit that is learnt from be found by what comes after it."""
        rows = [(band, key, id_) for band, key in enumerate(found.bands)]
        self._connection.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?, ?)", rows)

    def is_known(self, path: str, before: int, after: int) -> bool:
        """Whether this very edit was stored, learnt from or not: a history that is read again, for example."""
        values = (path, before, after)
        found = self._connection.execute(
            "SELECT 1 FROM edits WHERE path = ? AND before = ? AND after = ? LIMIT 1", values
        )
        return found.fetchone() is not None

    def restored(self, gone: Mapping[int, bytes]) -> Iterator[Refused]:
        """Decide anew about every edit that was left out because of one that is `gone` (its row, and the hash of what it added).

        In the order in which they came, as if what is gone had never come. Yields what changes in the count of refusals.
        """
        todo = [row.id for id_ in gone for row in self._copies(id_)]
        heapq.heapify(todo)
        while todo:
            row = self._row(heapq.heappop(todo))
            assert row.original is not None
            yield self._counted(row, gone.get(row.original), -1)
            found = self._fingerprint(row)
            first = self.original(found, older_than=row.id)
            self._connection.execute("UPDATE edits SET original = ? WHERE id = ?", (first and first[0], row.id))
            if first is not None:
                yield self._counted(self._row(row.id), None, 1)
                continue
            later = [id_ for id_, _ in self._alike(found) if id_ > row.id]
            self.index(row.id, found)
            for id_ in later:  # these were only learnt from because this one was not
                for copy in self._copies(id_):
                    heapq.heappush(todo, copy.id)
                self._connection.execute("UPDATE edits SET original = ? WHERE id = ?", (row.id, id_))
                self._connection.execute("DELETE FROM bands WHERE edit = ?", (id_,))
                yield self._counted(self._row(id_), None, 1)

    def _alike(self, found: Fingerprint) -> Iterator[tuple[int, Refusal]]:
        """Edits that are learnt from and add the same, then those that add nearly the same; each by row."""
        same = "SELECT id FROM edits WHERE added_sha256 = ? AND original IS NULL ORDER BY id"
        for (id_,) in self._connection.execute(same, (found.sha256,)).fetchall():
            yield id_, Refusal.EXACT_DUPLICATE
        candidates: set[int] = set()
        for band, key in enumerate(found.bands):
            near = "SELECT edit FROM bands WHERE band = ? AND key = ? ORDER BY edit LIMIT ?"
            candidates.update(id_ for (id_,) in self._connection.execute(near, (band, key, _CANDIDATES_PER_BAND)))
        for id_ in sorted(candidates):
            row = self._row(id_)
            is_same = row.sha256 == found.sha256  # told of already
            if not is_same and similarity(found.shingles, self._fingerprint(row).shingles) >= SIMILARITY:
                yield id_, Refusal.NEAR_DUPLICATE

    def _counted(self, row: _Row, original_sha256: bytes | None, n: int) -> Refused:
        """A duplicate as the refusal that it is counted as."""
        assert row.original is not None
        same = row.sha256 == (original_sha256 or self._row(row.original).sha256)
        return Refused(row.path, row.root, Refusal.EXACT_DUPLICATE if same else Refusal.NEAR_DUPLICATE, n, row.saved)

    def _copies(self, original: int) -> list[_Row]:
        rows = self._connection.execute("SELECT id FROM edits WHERE original = ?", (original,)).fetchall()
        return [self._row(id_) for (id_,) in rows]

    def _row(self, id_: int) -> _Row:
        columns = "id, path, root, saved, added_sha256, original, before, after"
        return _Row(*self._connection.execute(f"SELECT {columns} FROM edits WHERE id = ?", (id_,)).fetchone())

    def _fingerprint(self, row: _Row) -> Fingerprint:
        return added(self._texts.read(row.before), self._texts.read(row.after), row.path)


def added(before: str, after: str, path: str) -> Fingerprint:
    """What tells whether the text that an edit added was seen before."""
    return fingerprint("\n".join(added_lines(before, after)) or before, path)
