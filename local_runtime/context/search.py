"""BM25 over the workspace: an SQLite FTS5 index of file excerpts, kept up to date by time stamp and hash, bounded, forgetful.

The index holds text of the user's files, so it lives in the user's own 0700 folder, is never larger than its limits, leaves
out what the ignore and secret rules name, and forgets a path so that its text is gone from the database's files.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from local_runtime.context.chunks import Excerpt, excerpts
from local_runtime.context.ignore import Ignored, IgnoreRules, read_source, walk
from local_runtime.context.secrets import has_secret

SCHEMA_VERSION = 1
_MAX_TERMS = 24  # some are in the file at hand alone
_MAX_EXCERPTS_OF_TERM = 200
_MAX_REMEMBERED_TERMS = 20_000
_BATCH_FILES = 4
_STEPS_PER_LOOK = 2000  # SQLite instructions between two looks at the clock

_SCHEMA = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    modified_ns INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    first_part INTEGER NOT NULL,
    last_part INTEGER NOT NULL
);
CREATE VIRTUAL TABLE parts USING fts5(text, file UNINDEXED, first_line UNINDEXED, tokenize = "unicode61 tokenchars '_'");
CREATE INDEX files_by_part ON files(last_part);
CREATE VIRTUAL TABLE terms USING fts5vocab(parts, row);
CREATE TABLE common(term TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class IndexLimits:
    """How much of a workspace is indexed."""

    max_files: int = 10_000
    max_text_bytes: int = 64 << 20
    max_excerpts_per_file: int = 100


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh has done so far."""

    n_seen: int = 0
    n_indexed: int = 0
    n_removed: int = 0
    n_bytes: int = 0
    full: bool = False
    """Whether a limit kept further files out."""


class WorkspaceIndex:
    """The index of one workspace. One instance per thread; several may share a file: one writes, the others read."""

    def __init__(self, database: Path, rules: IgnoreRules, limits: IndexLimits = IndexLimits()) -> None:
        """Open or make the index; a damaged or outdated one is made anew."""
        self._rules = rules
        self._limits = limits
        self._n_excerpts: dict[str, int] = {}
        self._last: tuple[tuple[frozenset[str], str, int], tuple[Excerpt, ...]] | None = None
        try:
            self._connection = _open(database)
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                database.with_name(database.name + suffix).unlink(missing_ok=True)
            self._connection = _open(database)

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()

    def refresh(self) -> Iterator[Refreshed]:
        """Bring the index up to date. Whoever drives it may pause or stop between two reports; no lock is held there."""
        known = {
            row[1]: row
            for row in self._connection.execute("SELECT id, path, modified_ns, size_bytes, sha256 FROM files")
        }
        self._n_excerpts.clear()
        n_seen = n_indexed = n_removed = n_bytes = 0
        full = False
        for path, status in walk(self._rules, self._limits.max_files + 1):
            if status.st_size > self._rules.limits.max_bytes:
                continue
            if n_seen >= self._limits.max_files or n_bytes + status.st_size > self._limits.max_text_bytes:
                full = True
                break
            n_seen += 1
            row = known.pop(path, None)
            if row and row[2:4] == (status.st_mtime_ns, status.st_size):
                n_bytes += status.st_size
            else:
                size = self._index(path, status, row)
                n_bytes += size
                n_indexed += size > 0
            if n_seen % _BATCH_FILES == 0:
                self._connection.commit()
                yield Refreshed(n_seen, n_indexed, n_removed, n_bytes, full)
        for path in known:
            self._remove(path)
            n_removed += 1
        if n_indexed or n_removed:
            self._note_common()
        self._connection.commit()
        yield Refreshed(n_seen, n_indexed, n_removed, n_bytes, full)

    def update(self, path: str) -> None:
        """One file was saved or removed."""
        row = self._connection.execute(
            "SELECT id, path, modified_ns, size_bytes, sha256 FROM files WHERE path = ?", (path,)
        ).fetchone()
        try:
            status = (self._rules.root / path).lstat()
        except OSError:
            self._remove(path)
        else:
            (n_files,) = self._connection.execute("SELECT count(*) FROM files").fetchone()
            if self._rules.ignored(path) is not None:
                self._remove(path)
            elif row or n_files < self._limits.max_files:
                self._index(path, status, row)
        self._connection.commit()

    def forget(self, path: str) -> None:
        """Remove a file, or all files below a folder, such that its text is in none of the database's files any more."""
        below = path.rstrip("/") + "/"
        rows = self._connection.execute(
            "SELECT path FROM files WHERE path = ? OR substr(path, 1, ?) = ?", (path, len(below), below)
        )
        for (known,) in rows.fetchall():
            self._remove(known)
        self._connection.execute("INSERT INTO parts(parts) VALUES ('optimize')")  # drops what is only marked as deleted
        self._connection.commit()
        self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def search(
        self, names: frozenset[str], exclude: str, n: int, late: Callable[[], bool] = lambda: False
    ) -> list[Excerpt]:
        """The `n` excerpts of files other than `exclude` that fit `names` best; none when `late` says so first."""
        question = (names, exclude, n)
        if self._last and self._last[0] == question:  # as long as a word is typed, it is the same
            return list(self._last[1])
        self._connection.set_progress_handler(late, _STEPS_PER_LOOK)
        try:
            terms = self._rare_terms(names, late)
            if late():
                return []
            rows = self._connection.execute(
                "SELECT path, text, first_line FROM parts JOIN files ON files.id = parts.file "
                "WHERE parts MATCH ? AND path != ? ORDER BY bm25(parts) LIMIT ?",
                (" OR ".join(map(_quoted, terms)), exclude, n),
            )
            found = [Excerpt(path, text, first_line) for path, text, first_line in rows] if terms else []
        except sqlite3.OperationalError:  # interrupted by the progress handler, or another process writes
            return []
        finally:
            self._connection.set_progress_handler(None, 0)
        self._last = (question, tuple(found))
        return found

    def _rare_terms(self, names: frozenset[str], late: Callable[[], bool]) -> list[str]:
        """The names that tell most: those in fewest excerpts. A name that is everywhere costs time and says nothing."""
        wanted = {name.lower() for name in names}
        if len(self._n_excerpts) > _MAX_REMEMBERED_TERMS:
            self._n_excerpts.clear()
        for name in wanted - self._n_excerpts.keys():  # one by one: what was found stays found when time runs out
            if late():
                return []
            self._n_excerpts[name] = self._count(name)
        known = [(self._n_excerpts[name], name) for name in wanted]
        return [name for n_excerpts, name in sorted(known) if 0 < n_excerpts < _MAX_EXCERPTS_OF_TERM][:_MAX_TERMS]

    def _count(self, name: str) -> int:
        """In how many excerpts a name is; 0 for none, and for one that is known to be everywhere."""
        if self._connection.execute("SELECT 1 FROM common WHERE term = ?", (name,)).fetchone():
            return 0
        row = self._connection.execute("SELECT doc FROM terms WHERE term = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _note_common(self) -> None:
        """Counting a common name means reading all its places: milliseconds at a keystroke, so it is done here."""
        self._connection.execute("DELETE FROM common")
        self._connection.execute("INSERT INTO common SELECT term FROM terms WHERE doc >= ?", (_MAX_EXCERPTS_OF_TERM,))

    def _index(self, path: str, status: os.stat_result, row: tuple[int, str, int, int, bytes] | None) -> int:
        """Read and index one file; return its size, 0 for one that is left out."""
        try:
            text = read_source(self._rules.root / path, self._rules.limits)
        except OSError:
            text = Ignored.LINK
        if isinstance(text, Ignored) or self._rules.unwanted(path, text):
            text = ""  # an empty entry: it is read again only when it changes
        sha256 = hashlib.sha256(text.encode()).digest()
        stamp = (status.st_mtime_ns, status.st_size)
        if row and row[4] == sha256:
            self._connection.execute("UPDATE files SET modified_ns = ?, size_bytes = ? WHERE id = ?", (*stamp, row[0]))
            return len(text)
        self._remove(path)
        kept = [e for e in excerpts(path, text, self._limits.max_excerpts_per_file) if not has_secret(e.text, path)]
        (first,) = self._connection.execute("SELECT coalesce(max(last_part), 0) + 1 FROM files").fetchone()
        file = self._connection.execute(
            "INSERT INTO files(path, modified_ns, size_bytes, sha256, first_part, last_part) VALUES (?, ?, ?, ?, ?, ?)",
            (path, *stamp, sha256, first, first + len(kept) - 1),
        ).lastrowid
        self._connection.executemany(
            "INSERT INTO parts(rowid, text, file, first_line) VALUES (?, ?, ?, ?)",
            [(first + n, excerpt.text, file, excerpt.first_line) for n, excerpt in enumerate(kept)],
        )
        return len(text)

    def _remove(self, path: str) -> None:
        self._last = None
        row = self._connection.execute(
            "DELETE FROM files WHERE path = ? RETURNING first_part, last_part", (path,)
        ).fetchone()
        if row:  # by row number: FTS5 has no index on the file
            self._connection.execute("DELETE FROM parts WHERE rowid BETWEEN ? AND ?", row)


def _quoted(term: str) -> str:
    """A term as an FTS5 string, so that no operator in it is one."""
    return '"' + term.replace('"', '""') + '"'


def _open(database: Path) -> sqlite3.Connection:
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database.touch(mode=0o600)
    connection = sqlite3.connect(database, timeout=0.05, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA mmap_size = {256 << 20}")  # fewer system calls at a keystroke
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        with closing(connection.execute("PRAGMA user_version")) as cursor:
            (version,) = cursor.fetchone()
        if version != SCHEMA_VERSION:
            if version:
                raise sqlite3.DatabaseError(f"schema {version}, expected {SCHEMA_VERSION}")
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
