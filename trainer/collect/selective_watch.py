"""watchdog's inotify observer, which watches no folder that nothing is wanted of, and says when the kernel's limit is reached.

watchdog watches a tree as a whole, `node_modules` and all, at one inotify watch per folder, and passes over the ones that fail.
Here the walk asks first. This leans on classes of watchdog's `observers.inotify` that its documentation does not promise; the
version is pinned, and the tests use the real thing. Linux only: FSEvents watches a tree at one watch, whatever is in it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog.observers.inotify import InotifyEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyEvent


@dataclass(frozen=True)
class Asked:
    """What the observer asks while it goes through a tree, and whom it tells."""

    is_wanted: Callable[[str], bool]
    """Whether a folder (absolute) is to be watched."""
    git_dirs: Callable[[str], list[str]]
    """Git folders that a folder has; they are watched themselves, but nothing below them."""
    limit_reached: Callable[[int, str], None]
    """Called with an errno and a path when a folder cannot be watched."""
    overflowed: Callable[[], None]
    """Called when the kernel dropped events."""


@dataclass
class _SelectiveGroup(InotifyWatchGroup):
    asked: Asked | None = field(default=None, kw_only=True)

    def _add_all_callbacks(self, path: bytes) -> None:
        assert self.asked
        todo = [path] if path == self.path or self.asked.is_wanted(os.fsdecode(path)) else []
        while todo:
            folder = todo.pop()
            self._add_callback(folder)
            for git_dir in self.asked.git_dirs(os.fsdecode(folder)):
                self._add_callback(os.fsencode(git_dir))
            try:
                with os.scandir(folder) as entries:
                    below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            todo += [one for one in below if self.asked.is_wanted(os.fsdecode(one))]

    def _add_callback(self, path: bytes) -> None:
        try:
            wd = self._inotify_fd.add_callback(path, self.event_mask, self._callback, self._id)
        except OSError as error:
            assert self.asked
            if error.errno in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM):
                self.asked.limit_reached(error.errno, os.fsdecode(path))
            elif path == self.path:
                raise
            return
        self._active_callbacks_by_path[path] = wd
        self._active_callbacks_by_watch[wd] = path

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:
        return super()._recursive_simulate(src_path) if src_path in self._active_callbacks_by_path else []

    def on_queue_overflow(self) -> None:
        super().on_queue_overflow()
        assert self.asked
        self.asked.overflowed()


class _SelectiveEmitter(InotifyEmitter):
    asked: Asked

    def on_thread_start(self) -> None:
        self._inotify = _SelectiveGroup(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
            asked=self.asked,
        )


class SelectiveObserver(InotifyObserver):
    """An observer whose every watch asks. Raises OSError when the kernel gives no inotify instance."""

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self._emitter_class = type("_AskingEmitter", (_SelectiveEmitter,), {"asked": asked})
