"""The journal's texts: kept once each, by content, compressed, and no longer than something names them."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from dataclasses import dataclass

_DAY_SECONDS = 86_400
_MAX_TEXT_BYTES = 8 << 20
_UNUSED = "DELETE FROM texts WHERE id NOT IN (SELECT before FROM edits UNION SELECT after FROM edits UNION SELECT text FROM files)"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a journal keeps."""

    keep_days: float = 400.0
    max_bytes: int = 512 << 20
    """Of compressed text that edits name."""


class Texts:
    """The table of texts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def write(self, text: str) -> int:
        """Store a text, unless it is there, and return its row."""
        data = text.encode("utf-8", "surrogatepass")
        sha256 = hashlib.sha256(data).digest()
        row = self._connection.execute("SELECT id FROM texts WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            packed = zlib.compress(data, 6)
            row = self._connection.execute(
                "INSERT INTO texts (sha256, packed, size_bytes) VALUES (?, ?, ?) RETURNING id",
                (sha256, packed, len(packed)),
            ).fetchone()
        return int(row[0])

    def read(self, id_: int) -> str:
        """A text by its row. Raises sqlite3.DatabaseError when it is not what was stored."""
        row = self._connection.execute("SELECT packed, sha256 FROM texts WHERE id = ?", (id_,)).fetchone()
        try:
            data = zlib.decompressobj().decompress(row[0], _MAX_TEXT_BYTES)
        except (TypeError, zlib.error) as error:
            raise sqlite3.DatabaseError(f"text {id_} of the journal is damaged") from error
        if hashlib.sha256(data).digest() != row[1]:
            raise sqlite3.DatabaseError(f"text {id_} of the journal is damaged")
        return data.decode("utf-8", "surrogatepass")

    def delete_unused(self) -> None:
        """Delete what neither an edit nor a file names."""
        self._connection.execute(_UNUSED)


def prune(connection: sqlite3.Connection, limits: Limits, now: float) -> int:
    """Delete edits beyond the limits, oldest first; returns how many. Inside the caller's transaction."""
    n = connection.execute("DELETE FROM edits WHERE saved < ?", (now - limits.keep_days * _DAY_SECONDS,)).rowcount
    connection.execute(_UNUSED)
    while True:
        (used,) = connection.execute("SELECT coalesce(sum(size_bytes), 0) FROM texts").fetchone()
        if used <= limits.max_bytes:
            return n
        (n_edits,) = connection.execute("SELECT count(*) FROM edits").fetchone()
        oldest = connection.execute("SELECT id FROM edits ORDER BY saved, id LIMIT ?", (n_edits // 20 + 1,)).fetchall()
        if not oldest:
            return n
        connection.executemany("DELETE FROM edits WHERE id = ?", oldest)
        n += len(oldest)
        connection.execute(_UNUSED)
