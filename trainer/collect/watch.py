"""The watcher: sees what is saved in the opted-in folders, and records each edit once it has settled.

One thread takes watchdog's events and does the work; it sleeps when there is none. A lost event is only lost data, and the scan
at the next start finds most of it again. Whatever fails is a sentence in `problems`, and the watcher goes on.
"""

from __future__ import annotations

import errno
import logging
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import ParamSpec

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch

from local_runtime.errors import NotReady, RuntimeFault
from trainer.collect.folders import LearnedFolder, LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.scan import scan
from trainer.collect.watched_folder import Pace, WatchedFolder
from trainer.edits import EditEvent

_IS_ORDERED = sys.platform.startswith("linux")
"""inotify tells things in the order in which they happened; FSEvents need not."""
_SAVES: list[type[FileSystemEvent]] = [FileClosedEvent if _IS_ORDERED else FileModifiedEvent]
_EVENTS = [*_SAVES, FileCreatedEvent, FileDeletedEvent, FileMovedEvent, DirCreatedEvent, DirDeletedEvent, DirMovedEvent]
_RAISE_WATCHES = (
    "echo fs.inotify.max_user_watches=1048576 | sudo tee /etc/sysctl.d/60-understudy.conf && sudo sysctl --system"
)
_RAISE_INSTANCES = (
    "echo fs.inotify.max_user_instances=512 | sudo tee /etc/sysctl.d/61-understudy.conf && sudo sysctl --system"
)
_P = ParamSpec("_P")
_Item = tuple[str, FileSystemEvent | None]


class Watcher:
    """Watches until it is stopped. The journal is used by the watcher's own thread alone while it runs."""

    def __init__(
        self,
        folders: LearnedFolders,
        journal: Journal,
        pace: Pace | None = None,
        on_edit: Callable[[EditEvent], None] = lambda event: None,
    ) -> None:
        """`on_edit` is called, in the watcher's thread, with each edit that was stored."""
        self._folders = folders
        self._journal = journal
        self._pace = pace or Pace()
        self._on_edit = on_edit
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._watched: dict[str, tuple[WatchedFolder, ObservedWatch]] = {}
        self._observer: BaseObserver | None = None
        self._problems: dict[str, str] = {}
        self._is_paused = False
        self._beginning: WatchedFolder | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong at present, in sentences, with the command that mends it."""
        return tuple(self._problems.values())

    @property
    def is_alive(self) -> bool:
        """Whether it watches. It goes on after faults; an error of the program ends it."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to watch. Raises NotReady when the system gives no means to."""
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)  # at each stop it logs an error that is none
        try:
            self._observer = self._new_observer()
            self._observer.start()
        except OSError as error:
            raise NotReady(f"no folder can be watched: {error}", _RAISE_INSTANCES) from error
        self._thread.start()

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Wait until every opted-in folder is watched and has been looked through; whether that came about."""
        return self._ready.wait(timeout_seconds)

    def stop(self) -> None:
        """Record what waits as it stands, and end."""
        self._stopping.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        if self._observer and self._observer.is_alive():
            self._observer.stop()
            self._observer.join()

    def _run(self) -> None:
        next_look = -inf
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= next_look:
                self._guarded("folders", self._look)
                self._ready.set()
                next_look = time.monotonic() + self._pace.look_seconds
            due = min((watched.next_due() for watched, _ in self._watched.values()), default=inf)
            try:
                item = self._queue.get(timeout=max(min(due, next_look) - time.monotonic(), 0.0))
                while item is not None:
                    self._take(item)
                    item = self._queue.get_nowait()
            except queue.Empty:
                pass
            for root, (watched, _) in list(self._watched.items()):
                self._guarded(root, watched.tick, time.monotonic(), time.time())
        for root, (watched, _) in self._watched.items():
            self._guarded(root, watched.flush, time.monotonic(), time.time())

    def _take(self, item: _Item) -> None:
        root, event = item
        if root not in self._watched or self._is_paused:
            return
        watched, _ = self._watched[root]
        if event is None:
            self._guarded(root, self._scan, watched)
        else:
            self._guarded(root, watched.handle, event, time.monotonic())

    def _look(self) -> None:
        """Follow what the user opted in and out, and pauses."""
        wanted = {one.root: one for one in self._folders.all()}
        if self._folders.problem:
            raise NotReady(self._folders.problem)
        was_paused, self._is_paused = self._is_paused, self._folders.paused(time.time()) is not None
        for root, (watched, _) in list(self._watched.items()):
            if wanted.get(root) != watched.folder or watched.is_gone():
                self._end(root)
            elif watched.rules_changed and not self._is_paused:
                self._guarded(root, watched.flush, time.monotonic(), time.time())
                self._end(root)
            elif self._is_paused and not was_paused:
                self._guarded(root, watched.flush, time.monotonic(), time.time())
            elif was_paused and not self._is_paused:
                self._guarded(root, self._scan, watched)
        for root, folder in wanted.items():
            if root not in self._watched:
                self._guarded(root, self._begin, folder)

    def _begin(self, folder: LearnedFolder) -> None:
        assert self._observer
        if not Path(folder.root).is_dir():
            raise NotReady(f"{folder.root} is not there", f"understudy learn off {folder.root}")
        watched = WatchedFolder(folder, self._journal, self._pace, self._on_edit, is_ordered=_IS_ORDERED)
        self._beginning = watched
        handler = _Forward(folder.root, self._queue)
        watch = self._observer.schedule(handler, folder.root, recursive=True, event_filter=_EVENTS)
        if not _IS_ORDERED:
            for git_dir in watched.git_dirs(folder.root):
                if not git_dir.startswith(folder.root + "/"):
                    self._observer.schedule(handler, git_dir, recursive=False, event_filter=_EVENTS)
        self._watched[folder.root] = (watched, watch)
        if not self._is_paused:
            self._scan(watched)

    def _end(self, root: str) -> None:
        assert self._observer
        _, watch = self._watched.pop(root)
        self._observer.unschedule(watch)
        for owner in [owner for owner in list(self._problems) if owner.startswith(f"{root}: ")]:
            del self._problems[owner]

    def _scan(self, watched: WatchedFolder) -> None:
        scan(
            watched.folder,
            watched.recorder,
            self._journal,
            now=time.time(),
            recorded_from=self._folders.recorded_from(watched.folder),
            stopped=self._stopping.is_set,
            on_edit=self._on_edit,
        )

    def _guarded(self, owner: str, work: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """What fails is said until the same succeeds, and does not end the watcher."""
        owner = f"{owner}: {work.__name__}"
        try:
            if work(*args, **kwargs) is not False:
                self._problems.pop(owner, None)
        except RuntimeFault as fault:
            self._problems[owner] = str(fault)
        except sqlite3.DatabaseError as error:
            self._problems["journal"] = f"{self._journal.path}: {error}"
            self._journal.reopen()
            if self._journal.problem:
                self._problems["journal"] = self._journal.problem
        except OSError as error:
            self._problems[owner] = f"{owner}: {error}"

    def _new_observer(self) -> BaseObserver:
        if not _IS_ORDERED:
            from watchdog.observers import Observer  # noqa: PLC0415

            return Observer()
        from trainer.collect.selective_watch import Asked, SelectiveObserver  # noqa: PLC0415

        return SelectiveObserver(Asked(self._is_wanted, self._git_dirs, self._limit_reached, self._overflowed))

    def _owner(self, path: str) -> WatchedFolder | None:
        """Called from watchdog's threads, also while a folder is just being begun."""
        every = [watched for watched, _ in list(self._watched.values())]
        if self._beginning:
            every.append(self._beginning)
        return next((one for one in every if path == one.folder.root or path.startswith(one.folder.root + "/")), None)

    def _is_wanted(self, folder: str) -> bool:
        owner = self._owner(folder)
        return owner is not None and owner.is_wanted(folder)

    def _git_dirs(self, folder: str) -> list[str]:
        owner = self._owner(folder)
        return owner.git_dirs(folder) if owner else []

    def _limit_reached(self, code: int, path: str) -> None:
        remedy = _RAISE_INSTANCES if code == errno.EMFILE else _RAISE_WATCHES
        said = NotReady(
            f"the system's limit is reached: {path} and more are not watched, and looked at only at the next start",
            remedy,
        )
        self._problems.setdefault("limit", str(said))

    def _overflowed(self) -> None:
        for root in list(self._watched):
            self._queue.put((root, None))


class _Forward(FileSystemEventHandler):
    """Called in watchdog's thread: hands events over, and does nothing else."""

    def __init__(self, root: str, to: queue.SimpleQueue[_Item | None]) -> None:
        self._root = root
        self._to = to

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._to.put((self._root, event))
