"""The watcher and the clock in one process: what the login service and `understudy learn watch` run."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from local_runtime.errors import RuntimeFault
from local_runtime.places import places
from trainer.adapters.versions import Versions
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.watch import Watcher
from trainer.nightly.clock import Clock
from trainer.nightly.night import daemon_judge, night_of_user
from trainer.nightly.options import read_options
from trainer.nightly.process_lock import hold, holder_pid
from trainer.nightly.review import Reviewer
from trainer.nightly.user_activity import ActivityMonitor, UserActivity

CATCH_UP_SECONDS = 60.0
log = logging.getLogger("understudy.learn")


class WatcherBusy(RuntimeFault):
    """Another process watches: two would record every edit twice."""


def watch_and_train(stop: threading.Event) -> None:
    """Until `stop` is set. Raises BadRequest for options that cannot be understood, WatcherBusy."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %b %H:%M:%S"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = read_options()
    folders = LearnedFolders()
    with _sole_watcher(), closing(Journal()) as journal, closing(ActivityMonitor()) as look:
        if journal.problem:
            log.warning("%s", journal.problem)
        watcher = Watcher(folders, journal)
        watcher.start()
        reviewer = Reviewer(Versions, daemon_judge)
        try:
            log.info("watching %s", ", ".join(one.root for one in folders.all()) or "nothing yet")
            Clock(options, _telling(look, watcher), night_of_user, review=reviewer, stop=stop).run()
        finally:
            watcher.stop()


def _telling(look: Callable[[], UserActivity], watcher: Watcher) -> Callable[[], UserActivity]:
    """The same look, which logs each problem of the watcher once."""
    told: set[str] = set()

    def look_and_tell() -> UserActivity:
        for problem in set(watcher.problems) - told:
            log.warning("%s", problem)
        told.update(watcher.problems)
        return look()

    return look_and_tell


def catch_up(seconds: float = CATCH_UP_SECONDS) -> None:
    """Without a watcher: record what was saved in the opted-in folders since one last ran."""
    folders = LearnedFolders()
    if is_watching() or not folders.all():
        return
    with closing(Journal()) as journal:
        watcher = Watcher(folders, journal)
        watcher.start()
        try:
            watcher.wait_ready(seconds)
        finally:
            watcher.stop()


def is_watching() -> bool:
    """Whether a watcher runs: it holds its lock for its whole life, through long nights, too."""
    return holder_pid(_lock_path()) is not None


@contextmanager
def _sole_watcher() -> Iterator[None]:
    descriptor = hold(_lock_path())
    if descriptor is None:
        raise WatcherBusy(f"another watcher is running: process {holder_pid(_lock_path())}", "understudy learn status")
    try:
        yield
    finally:
        os.close(descriptor)


def _lock_path() -> Path:
    return places().data / "watcher.lock"
