"""The journal: before and after of every settled edit, and how each file was last seen. One SQLite file, in WAL mode.

Texts are kept once, by content, compressed. Age and size are bounded. It holds the user's code, so the file is 0600, deleting
overwrites (`secure_delete`), and `forget` leaves nothing in the database, its write-ahead log or a copy of a damaged one.
A journal that cannot be read is set aside as a copy and a new one is begun; `problem` says so.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from math import inf
from pathlib import Path

from filelock import FileLock

from local_runtime.errors import NotReady, RuntimeFault
from local_runtime.pip_command import pip_command
from local_runtime.places import folder, places
from trainer.collect.journal_duplicates import Duplicates, added
from trainer.collect.journal_files import SeenFile, SeenFiles
from trainer.collect.journal_texts import Limits, Texts, prune
from trainer.collect.migrations import migrate
from trainer.collect.refusals import Refusal, Refused
from trainer.edits import EditEvent, Origin

BUSY_SECONDS = 10.0
_PRUNE_EVERY = 500
_BATCH_EDITS = 100
_BELOW = "(path = ? OR substr(path, 1, ?) = ?)"


class JournalUnwritable(RuntimeFault):
    """The disk is full, or the file may not be written. What was to be written is not lost: it is still in the files."""


class Journal:
    """The open journal. One instance per thread; several processes may have it open."""

    def __init__(self, path: Path | None = None, limits: Limits | None = None) -> None:
        self.path = path or default_path()
        self.limits = limits or Limits()
        self.problem: str | None = None
        """What happened to the journal that was here before, if something did."""
        self._n_since_prune = 0
        folder(self.path.parent)
        self._open()

    def _open(self) -> None:
        try:
            self._connection = _opened(self.path)
        except sqlite3.NotSupportedError as error:
            raise NotReady(
                f"{self.path} was written by a newer Understudy: {error}",
                f"{pip_command('install --upgrade .')}    (in the newer one's checkout)",
            ) from error
        except sqlite3.OperationalError as error:
            raise _unwritable(self.path, error) from error
        except sqlite3.DatabaseError as error:
            self._connection = self._begun_anew(error)
        self._texts = Texts(self._connection)
        self._duplicates = Duplicates(self._connection, self._texts)
        self.files = SeenFiles(self._connection, self._texts)

    def reopen(self) -> None:
        """After a `sqlite3.DatabaseError`: a journal that was damaged while it was open is set aside."""
        self._connection.close()
        self._open()

    def changing_files(self) -> AbstractContextManager[None]:
        """Several changes of `files`, all or none."""
        return self._changing()

    def add(self, events: Iterable[EditEvent]) -> list[EditEvent]:
        """Store edits and return those that were new, with their ids. Duplicates are left out and counted.

        Raises JournalUnwritable; what was stored before stays.
        """
        return list(self._stored(events))

    def store(self, events: Iterable[EditEvent]) -> int:
        """`add` for a long stream, such as a history: returns how many were new, and keeps none of them in memory."""
        return sum(1 for _ in self._stored(events))

    def _stored(self, events: Iterable[EditEvent]) -> Iterator[EditEvent]:
        """Piece by piece, so that nobody who writes is kept waiting for the whole."""
        stream = iter(events)
        while batch := list(islice(stream, _BATCH_EDITS)):
            with self._changing():
                stored = [done for event in batch if (done := self._add(event))]
                self._n_since_prune += len(batch)
                if self._n_since_prune >= _PRUNE_EVERY:
                    prune(self._connection, self.limits, time.time())
                    self._n_since_prune = 0
            yield from stored

    def settle(
        self, seen: SeenFile, event: EditEvent | None = None, refused: Iterable[Refused] = ()
    ) -> EditEvent | None:
        """How a file is now, the edit that led there, if it is one, and what of it was left out: all of it or nothing."""
        with self._changing():
            stored = self._add(event) if event else None
            self.files.write(seen)
            for one in refused:
                self._refuse(one)
        return stored

    def refuse(self, refused: Iterable[Refused]) -> None:
        """Count what was left out."""
        with self._changing():
            for one in refused:
                self._refuse(one)

    def edits(self, since: float = 0.0, until: float = inf, root: str | None = None) -> Iterator[EditEvent]:
        """Edits saved in `[since, until)`, oldest first; of one opted-in folder, if one is named.

        Read one by one: whoever stops in the middle holds no lock.
        """
        where = "original IS NULL AND saved >= ? AND saved < ?" + (" AND root = ?" if root is not None else "")
        values: tuple[object, ...] = (since, min(until, 1e300)) + ((root,) if root is not None else ())
        ids = self._connection.execute(f"SELECT id FROM edits WHERE {where} ORDER BY saved, id", values).fetchall()
        for (id_,) in ids:
            event = self.edit(id_)
            if event:
                yield event

    def edit(self, id_: int) -> EditEvent | None:
        """One edit; None when it has been forgotten."""
        row = self._connection.execute(
            "SELECT path, root, language, before, after, saved, origin FROM edits WHERE id = ?", (id_,)
        ).fetchone()
        if row is None:
            return None
        path, root, language, before, after, saved, origin = row
        return EditEvent(
            path, root, language, self._texts.read(before), self._texts.read(after), saved, Origin(origin), id_
        )

    def count(self, since: float = 0.0, root: str | None = None) -> int:
        """How many edits were saved since a Unix time."""
        where = "original IS NULL AND saved >= ?" + (" AND root = ?" if root is not None else "")
        values: tuple[object, ...] = (since,) + ((root,) if root is not None else ())
        (n,) = self._connection.execute(f"SELECT count(*) FROM edits WHERE {where}", values).fetchone()
        return int(n)

    def amount(self, root: str) -> tuple[int, int, float]:
        """Of an opted-in folder: its edits, the files that have any, and the Unix time of the newest; 0 when there is none."""
        n_edits, n_files, newest = self._connection.execute(
            "SELECT count(*), count(DISTINCT path), coalesce(max(saved), 0.0) FROM edits"
            " WHERE root = ? AND original IS NULL",
            (root,),
        ).fetchone()
        return int(n_edits), int(n_files), float(newest)

    def refusals(self, root: str | None = None) -> list[Refused]:
        """What was left out and why, the most frequent first."""
        where, values = ("WHERE root = ?", (root,)) if root is not None else ("", ())
        rows = self._connection.execute(
            f"SELECT path, root, reason, n, last FROM refusals {where} ORDER BY n DESC, path, reason", values
        )
        return [Refused(path, owner, Refusal[reason], n, last) for path, owner, reason, n, last in rows]

    def size_bytes(self) -> int:
        """Of the database and its write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def forget(self, path_or_root: str | Path) -> int:
        """Delete all that is known about a file or a folder, under every name it had; returns how many edits that were.

        Edits of other files that were left out because they were like one of these are learnt from, as if it had never been.
        Afterwards no byte of it is in the journal's files: pages are overwritten, the log is emptied, copies of damaged
        journals are removed. Raises NotReady when another process reads the journal for too long: run it again.
        """
        names = self._names(Path(path_or_root).as_posix().rstrip("/") or "/")
        gone: list[tuple[int, bytes, int | None]] = []
        with self._changing():
            for name in names:
                below = (name, len(name) + 1, name + "/")
                self.files.forget(name)
                deleted = f"DELETE FROM edits WHERE {_BELOW} RETURNING id, added_sha256, original"
                gone += self._connection.execute(deleted, below).fetchall()
                self._connection.execute(f"DELETE FROM refusals WHERE {_BELOW}", below)
                self._connection.execute(f"DELETE FROM roots WHERE {_BELOW.replace('path', 'root')}", below)
            for one in self._duplicates.restored({id_: sha256 for id_, sha256, _ in gone}):
                self._refuse(one)
            self._connection.execute("DELETE FROM refusals WHERE n <= 0")
            self._texts.delete_unused()
        for copy in self.path.parent.glob(self.path.name + ".broken-*"):
            copy.unlink(missing_ok=True)
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()
        (busy, *_rest) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise NotReady(
                f"{self.path} is being read by another process; it is forgotten, but not yet overwritten", None
            )
        return sum(original is None for _, _, original in gone)

    def prune(self, now: float) -> int:
        """Delete what is older, or more, than the limits allow; returns how many edits."""
        with self._changing():
            return prune(self._connection, self.limits, now)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _names(self, name: str) -> list[str]:
        """A path and all names that it, or what is below it, had before."""
        names, todo = [], [name]
        while todo:
            new = todo.pop()
            if new not in names:
                names.append(new)
                todo += self.files.former_names(new)
        return names

    def _add(self, event: EditEvent) -> EditEvent | None:
        if event.before == event.after:
            return None
        found = added(event.before, event.after, event.path)
        original = self._duplicates.original(found)
        before, after = self._texts.write(event.before), self._texts.write(event.after)
        if original is not None:
            self._refuse(Refused(event.path, event.root, original[1], last=event.saved))
            if self._duplicates.is_known(event.path, before, after):
                return None
        saved = event.saved if event.origin is Origin.COMMIT else max(event.saved, self._newest())
        values = (
            event.path, event.root, event.language, before, after, saved, event.origin, found.sha256,
            original and original[0],
        )  # fmt: skip
        columns = "path, root, language, before, after, saved, origin, added_sha256, original"
        (id_,) = self._connection.execute(
            f"INSERT INTO edits ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id", values
        ).fetchone()
        if original is not None:
            return None
        self._duplicates.index(id_, found)
        return EditEvent(event.path, event.root, event.language, event.before, event.after, saved, event.origin, id_)

    def _newest(self) -> float:
        """When the clock goes backwards, what is saved later must still count as later."""
        (newest,) = self._connection.execute(
            "SELECT max(saved) FROM edits WHERE origin != ?", (Origin.COMMIT,)
        ).fetchone()
        return float(newest or 0.0)

    def _refuse(self, one: Refused) -> None:
        self._connection.execute(
            "INSERT INTO refusals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n, last = excluded.last",
            (one.root, one.path, one.reason.name, one.n, one.last),
        )

    def _changing(self) -> _Transaction:
        return _Transaction(self._connection, self.path)

    def _begun_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        with FileLock(self.path.with_name(self.path.name + ".lock"), timeout=BUSY_SECONDS, mode=0o600):
            try:
                return _opened(self.path)  # another process was faster
            except sqlite3.DatabaseError:
                copy = self.path.with_name(f"{self.path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
                for suffix in ("-wal", "-shm", ""):
                    part = self.path.with_name(self.path.name + suffix)
                    if part.exists():
                        part.replace(copy.with_name(copy.name + suffix))
                self.problem = f"{self.path} was damaged ({error}): it was kept as {copy.name}, and a new journal begun"
                return _opened(self.path)


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT. A full disk is said in a sentence."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise _unwritable(self._path, error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        except sqlite3.OperationalError as failed:
            error = failed
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise _unwritable(self._path, error) from error


def default_path() -> Path:
    """Where the journal of this user is."""
    return places().data / "journal.sqlite"


def _unwritable(path: Path, error: sqlite3.OperationalError) -> JournalUnwritable:
    return JournalUnwritable(f"{path} cannot be written: {error}", f"df -h {path.parent}; ls -l {path.parent}")


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if path.stat().st_size == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written, or it has no effect
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate(connection)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        connection.close()
        raise
    return connection
