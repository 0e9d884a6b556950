"""How each file of the opted-in folders was last seen: the `before` of its next edit."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.collect.journal_texts import Texts

_BELOW = "(path = ? OR substr(path, 1, ?) = ?)"


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as it was last seen."""

    path: str
    root: str
    text: str
    """Without the lines that are withheld (see `cleaning`)."""
    sha256: bytes
    """Of the file itself, all of it: whether it is still the same."""
    modified_ns: int
    size_bytes: int


class SeenFiles:
    """The table of files. Changes are made inside the journal's transactions."""

    def __init__(self, connection: sqlite3.Connection, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    def read(self, path: str) -> SeenFile | None:
        """How a file was last seen; None if it never was."""
        row = self._connection.execute(
            "SELECT root, text, sha256, modified_ns, size_bytes FROM files WHERE path = ?", (path,)
        ).fetchone()
        return SeenFile(path, row[0], self._texts.read(row[1]), *row[2:]) if row else None

    def is_known(self, path: str) -> bool:
        """Whether a file, or a file below a folder, was seen."""
        below = (path, path + "/", path + "0")  # `0` follows `/`
        return (
            self._connection.execute(
                "SELECT 1 FROM files WHERE path = ? OR path > ? AND path < ? LIMIT 1", below
            ).fetchone()
            is not None
        )

    def with_content(self, sha256: bytes) -> list[str]:
        """Files that had these contents when last seen."""
        return [path for (path,) in self._connection.execute("SELECT path FROM files WHERE sha256 = ?", (sha256,))]

    def stamps(self, root: str) -> Iterator[tuple[str, int, int]]:
        """Path, time of modification (ns) and size (bytes) of every file seen in an opted-in folder."""
        yield from self._connection.execute("SELECT path, modified_ns, size_bytes FROM files WHERE root = ?", (root,))

    def write(self, seen: SeenFile) -> None:
        """A file was seen. Its former text is deleted when nothing else names it."""
        former = self._connection.execute("SELECT text FROM files WHERE path = ?", (seen.path,)).fetchone()
        self._connection.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
            (seen.path, seen.root, self._texts.write(seen.text), seen.sha256, seen.modified_ns, seen.size_bytes),
        )
        if former:
            self._delete_unused(former[0])

    def remove(self, path: str) -> None:
        """A file, or a folder, is there no longer; what was learnt from it stays."""
        rows = self._connection.execute(
            f"DELETE FROM files WHERE {_BELOW} RETURNING text", (path, len(path) + 1, path + "/")
        ).fetchall()
        for (text,) in rows:
            self._delete_unused(text)

    def rename(self, old: str, new: str) -> None:
        """A file, or a folder, has another name: its history goes with it."""
        below = (old, len(old) + 1, old + "/")
        for (path,) in self._connection.execute(f"SELECT path FROM files WHERE {_BELOW}", below).fetchall():
            renamed = new + path[len(old) :]
            self.remove(renamed)
            self._connection.execute("UPDATE files SET path = ? WHERE path = ?", (renamed, path))
            self._connection.execute("INSERT OR IGNORE INTO renames VALUES (?, ?)", (renamed, path))

    def former_names(self, path: str) -> list[str]:
        """Names under which a file, or files now in a folder, were known before."""
        where = _BELOW.replace("path", "new")
        rows = self._connection.execute(f"SELECT old FROM renames WHERE {where}", (path, len(path) + 1, path + "/"))
        return [old for (old,) in rows]

    def forget(self, path: str) -> None:
        """Remove a file or a folder such that its files, seen again, count as old and not as written just now."""
        below = (path, len(path) + 1, path + "/")
        for (known,) in self._connection.execute(f"SELECT path FROM files WHERE {_BELOW}", below).fetchall():
            self._connection.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (_name_hash(known),))
        self.remove(path)
        self._connection.execute(f"DELETE FROM renames WHERE {_BELOW.replace('path', 'new')}", below)
        self._connection.execute(f"DELETE FROM renames WHERE {_BELOW.replace('path', 'old')}", below)

    def was_forgotten(self, path: str) -> bool:
        """Whether a file was forgotten while it was there."""
        row = self._connection.execute("SELECT 1 FROM forgotten WHERE path_sha256 = ?", (_name_hash(path),)).fetchone()
        return row is not None

    def scanned(self, root: str) -> tuple[float, str] | None:
        """When an opted-in folder was last looked through, and which commit its HEAD was then."""
        row = self._connection.execute("SELECT scanned, head FROM roots WHERE root = ?", (root,)).fetchone()
        return (float(row[0]), str(row[1])) if row else None

    def write_scanned(self, root: str, at: float, head: str) -> None:
        """An opted-in folder was looked through."""
        self._connection.execute("INSERT OR REPLACE INTO roots VALUES (?, ?, ?)", (root, at, head))

    def _delete_unused(self, text: int) -> None:
        self._connection.execute(
            "DELETE FROM texts WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM files WHERE text = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM edits WHERE before = ?1 OR after = ?1)",
            (text,),
        )


def _name_hash(path: str) -> bytes:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
