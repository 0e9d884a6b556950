"""The watcher and the clock in one process: what the login service and `understudy learn watch` run."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import closing

from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.watch import Watcher
from trainer.nightly.attention import Onlooker
from trainer.nightly.clock import Clock
from trainer.nightly.night import night_of_user
from trainer.nightly.options import read_options

log = logging.getLogger("understudy.learn")


def watch_and_train(stop: threading.Event) -> None:
    """Until `stop` is set. Raises BadRequest for options that cannot be understood."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %b %H:%M:%S"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = read_options()
    folders = LearnedFolders()
    with closing(Journal()) as journal, closing(Onlooker()) as look:
        if journal.problem:
            log.warning("%s", journal.problem)
        watcher = Watcher(folders, journal)
        watcher.start()
        try:
            log.info("watching %s", ", ".join(one.root for one in folders.all()) or "nothing yet")
            Clock(options, look, night_of_user, stop=stop).run()
        finally:
            watcher.stop()
