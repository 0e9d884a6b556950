"""A watcher as a process of its own, for tests that kill it: prints `ready`, then a line per stored edit."""

from __future__ import annotations

import sys
from pathlib import Path

from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.watch import Watcher
from trainer.collect.watched_folder import Pace
from trainer.edits import EditEvent


def _stored(edit: EditEvent) -> None:
    print(edit.id, edit.model_path, flush=True)


def main(state: Path) -> None:
    """Watch until stdin ends."""
    journal = Journal(state / "journal.sqlite")
    pace = Pace(quiet_seconds=0.05, gather_seconds=0.02, look_seconds=0.1)
    watcher = Watcher(LearnedFolders(state / "folders.json"), journal, pace, _stored)
    watcher.start()
    watcher.wait_ready(60.0)
    print("ready", flush=True)
    sys.stdin.read()
    watcher.stop()
    journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
