"""The journal's schema, as numbered steps. A step that was released is never changed: the next one mends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def m001_first(connection: sqlite3.Connection) -> None:
    """Texts by content, edits and last known files that name them, and what was left out."""
    connection.execute(
        "CREATE TABLE texts (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, packed BLOB NOT NULL, size_bytes INTEGER NOT NULL)"
    )
    connection.execute(
        """CREATE TABLE edits (
            id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, root TEXT NOT NULL, language TEXT NOT NULL,
            before INTEGER NOT NULL REFERENCES texts, after INTEGER NOT NULL REFERENCES texts, saved REAL NOT NULL,
            origin TEXT NOT NULL, added_sha256 BLOB NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX edits_by_time ON edits (saved, id)")
    connection.execute("CREATE INDEX edits_by_added ON edits (added_sha256)")
    connection.execute("CREATE INDEX edits_before ON edits (before)")
    connection.execute("CREATE INDEX edits_after ON edits (after)")
    connection.execute(
        """CREATE TABLE bands (
            band INTEGER NOT NULL, key BLOB NOT NULL, edit INTEGER NOT NULL REFERENCES edits ON DELETE CASCADE,
            PRIMARY KEY (band, key, edit)
        ) WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX bands_by_edit ON bands (edit)")
    connection.execute(
        """CREATE TABLE files (
            path TEXT PRIMARY KEY, root TEXT NOT NULL, text INTEGER NOT NULL REFERENCES texts, sha256 BLOB NOT NULL,
            modified_ns INTEGER NOT NULL, size_bytes INTEGER NOT NULL
        ) WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX files_by_text ON files (text)")
    connection.execute("CREATE INDEX files_by_content ON files (sha256)")
    connection.execute(
        "CREATE TABLE roots (root TEXT PRIMARY KEY, scanned REAL NOT NULL, head TEXT NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE renames (new TEXT NOT NULL, old TEXT NOT NULL, PRIMARY KEY (new, old)) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE forgotten (path_sha256 BLOB PRIMARY KEY) WITHOUT ROWID")
    connection.execute(
        """CREATE TABLE refusals (
            root TEXT NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL, n INTEGER NOT NULL, last REAL NOT NULL,
            PRIMARY KEY (root, path, reason)
        ) WITHOUT ROWID"""
    )


def m002_duplicates_are_kept(connection: sqlite3.Connection) -> None:
    """An edit that adds what another one added before is kept, and names it: NULL for one that is learnt from."""
    connection.execute("ALTER TABLE edits ADD COLUMN original INTEGER")
    connection.execute("CREATE INDEX edits_by_original ON edits (original) WHERE original IS NOT NULL")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_first, m002_duplicates_are_kept)


def migrate(
    connection: sqlite3.Connection, steps: tuple[Callable[[sqlite3.Connection], None], ...] = MIGRATIONS
) -> None:
    """Bring a database up to date, in one transaction; two processes that open a new file at once do not both create it.

    Raises sqlite3.DatabaseError for a database of a newer program.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(steps):
            raise sqlite3.NotSupportedError(f"schema {version}, this program knows {len(steps)}")
        for number, step in enumerate(steps[version:], start=version + 1):
            step(connection)
            connection.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
