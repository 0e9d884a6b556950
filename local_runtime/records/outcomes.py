"""What became of suggestions: the table that the language server writes and statistics, thresholds and the trainer read.

`metrics.sqlite` holds it, on this machine alone. It contains text that was shown, so `forget` deletes for good
(`secure_delete`, and the write-ahead log is emptied).
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from local_runtime.places import folder, places

logger = logging.getLogger(__name__)
KEEP_DAYS = 180
BUSY_SECONDS = 5.0


class Fate(StrEnum):
    """How a suggestion ended."""

    ACCEPTED = "accepted"
    PARTLY = "partly"
    """A word or a line of it was accepted, the rest was not."""
    TYPED = "typed"
    """The user typed all of it by hand."""
    REJECTED = "rejected"
    """It was seen, and something else was done."""
    UNSEEN = "unseen"
    """It was gone before a person could read it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One suggestion that was shown, and what became of it."""

    id: str
    shown_at: float
    """Unix time, seconds."""
    path: str
    """Absolute path of the file; empty for a new document."""
    line: int
    language: str
    model: str
    adapter: str
    """Content id of the adapter; empty for the base."""
    strength: float
    source: str
    """How it was answered: see `lsp_server.answer.Source`."""
    latency_ms: float
    logprob: float
    """Mean log-probability per token, nats."""
    text: str
    fate: Fate
    n_typed_chars: int = 0
    """Typed by hand while it was visible."""
    n_accepted_chars: int = 0
    """Inserted by accepting: the keystrokes that were saved."""
    is_undone: bool = False
    kept_after_30s: float | None = None
    """Share of the accepted tokens that still stood there; None when nothing was accepted or it was not measured."""
    kept_at_save: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One request, whether something was shown or not."""

    at: float
    """Unix time, seconds."""
    path: str
    line: int
    language: str
    source: str
    """How the answer was found, also one that was not worth showing; empty where none was looked for."""
    skip: str
    """Empty when something was shown."""
    latency_ms: float
    adapter: str


def training_weight(outcome: Outcome) -> float:
    """How much an example at the place of this suggestion should count, 1 being usual.

    Where the model was wrong there is most to learn. What it wrote itself and the user kept it knows already, and learning
    one's own words again narrows a model; what the user had to change is a correction.
    """
    if outcome.fate is Fate.REJECTED or outcome.is_undone:
        return 1.5
    kept = outcome.kept_at_save if outcome.kept_at_save is not None else outcome.kept_after_30s
    if outcome.fate in (Fate.ACCEPTED, Fate.PARTLY) and kept is not None:
        return 0.5 if kept >= 0.8 else 1.25
    return 1.0


def _m001_first(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE outcomes (
            id TEXT PRIMARY KEY, shown_at REAL NOT NULL, path TEXT NOT NULL, line INTEGER NOT NULL, language TEXT NOT NULL,
            model TEXT NOT NULL, adapter TEXT NOT NULL, strength REAL NOT NULL, source TEXT NOT NULL, latency_ms REAL NOT NULL,
            logprob REAL NOT NULL, text TEXT NOT NULL, fate TEXT NOT NULL, n_typed_chars INTEGER NOT NULL,
            n_accepted_chars INTEGER NOT NULL, is_undone INTEGER NOT NULL, kept_after_30s REAL, kept_at_save REAL
        )"""
    )
    connection.execute("CREATE INDEX outcomes_by_time ON outcomes (shown_at)")
    connection.execute(
        """CREATE TABLE answers (
            at REAL NOT NULL, path TEXT NOT NULL, line INTEGER NOT NULL, language TEXT NOT NULL, source TEXT NOT NULL,
            skip TEXT NOT NULL, latency_ms REAL NOT NULL, adapter TEXT NOT NULL
        )"""
    )
    connection.execute("CREATE INDEX answers_by_time ON answers (at)")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_m001_first,)
_COLUMNS = ", ".join(one.name for one in fields(Outcome))
_MARKS = ", ".join("?" for _ in fields(Outcome))


class OutcomeLog:
    """The open database. One per thread; several processes may have it open."""

    def __init__(self, path: Path) -> None:
        folder(path.parent)
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA secure_delete = ON")
        self._migrate()

    def write(self, outcomes: list[Outcome], answers: list[Answer]) -> None:
        """Store them in one transaction; an outcome that is there already is replaced."""
        with self._transaction():
            self._connection.executemany(
                f"INSERT OR REPLACE INTO outcomes ({_COLUMNS}) VALUES ({_MARKS})",
                [astuple(outcome) for outcome in outcomes],
            )
            self._connection.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [astuple(answer) for answer in answers]
            )

    def outcomes(self, since: float = 0.0, path: str | None = None) -> Iterator[Outcome]:
        """What was shown since a Unix time, oldest first; of one file, if one is named."""
        where = "shown_at >= ?" + (" AND path = ?" if path is not None else "")
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM outcomes WHERE {where} ORDER BY shown_at",
            (since, path) if path is not None else (since,),
        )
        for row in rows:
            one = Outcome(*row)
            yield replace(one, fate=Fate(one.fate), is_undone=bool(one.is_undone))

    def answers(self, since: float = 0.0, last: int = -1) -> Iterator[Answer]:
        """Requests since a Unix time, the `last` of them (-1: all), oldest first."""
        rows = self._connection.execute("SELECT * FROM answers WHERE at >= ? ORDER BY at DESC LIMIT ?", (since, last))
        for row in reversed(rows.fetchall()):
            yield Answer(*row)

    def forget(self, path: Path) -> int:
        """Delete all that is known about a file, or a folder and what is in it; returns how many suggestions that were."""
        below = str(path).rstrip("/") + "/"
        where = "path = ? OR substr(path, 1, ?) = ?"
        values = (str(path), len(below), below)
        with self._transaction():
            deleted = self._connection.execute(f"DELETE FROM outcomes WHERE {where}", values).rowcount
            self._connection.execute(f"DELETE FROM answers WHERE {where}", values)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    def prune(self, now: float | None = None) -> None:
        """Delete what is older than `KEEP_DAYS`."""
        limit = (time.time() if now is None else now) - KEEP_DAYS * 86_400
        with self._transaction():
            self._connection.execute("DELETE FROM outcomes WHERE shown_at < ?", (limit,))
            self._connection.execute("DELETE FROM answers WHERE at < ?", (limit,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)

    def _migrate(self) -> None:
        with self._transaction():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
                migration(self._connection)
                self._connection.execute(f"PRAGMA user_version = {number}")


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT: two processes that open a new file at once do not both create it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def database() -> Path:
    """Where the log of this user is."""
    return places().data / "metrics.sqlite"


def forget(path: Path, database: Path) -> int:
    """`OutcomeLog.forget` for a database that may not exist yet."""
    if not database.exists():
        return 0
    try:
        with closing(OutcomeLog(database)) as log:
            return log.forget(path)
    except sqlite3.OperationalError:
        raise  # it is in use, or the disk is full: what is in it is still there
    except sqlite3.DatabaseError:
        for end in ("", "-wal", "-shm"):  # what cannot be read cannot be searched, and may hold it
            database.with_name(database.name + end).unlink(missing_ok=True)
        return 0


def read_outcomes(database: Path, since: float = 0.0) -> list[Outcome]:
    """`OutcomeLog.outcomes` for those who can do without: nothing where there is no database, or none that can be read."""
    if not database.exists():
        return []
    try:
        with closing(OutcomeLog(database)) as log:
            return list(log.outcomes(since))
    except sqlite3.Error as problem:
        logger.warning("%s cannot be read (%s): what became of suggestions is left out", database, problem)
        return []
