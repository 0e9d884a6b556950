"""`understudy learn status`: what is on, what the last nights brought, what the next one waits for."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local_runtime.errors import RuntimeFault
from local_runtime.places import places
from local_runtime.records.night import read_night
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal, default_path
from trainer.nightly.clock import against_a_night
from trainer.nightly.options import read_options
from trainer.nightly.runs import Run, Runs
from trainer.nightly.service import service
from trainer.nightly.trainer_lock import trainer_pid
from trainer.nightly.user_activity import ActivityMonitor
from trainer.nightly.watching import is_watching

N_NIGHTS = 5


def print_status(console: Console) -> None:
    """All of it. Reads, and changes nothing."""
    folders = LearnedFolders()
    learned = folders.all()
    table = Table.grid(padding=(0, 2))
    if folders.problem:
        table.add_row("[red]problem", folders.problem)
    if not learned:
        table.add_row("[dim]learning", "off; understudy learn on PATH switches it on for a folder")
    if default_path().exists():
        with closing(Journal()) as journal:
            for one in learned:
                table.add_row(
                    "[dim]folder", f"{one.root}: {journal.count(root=one.root)} edits, since {_date(one.since)}"
                )
            table.add_row("[dim]journal", f"{journal.count()} edits, {journal.size_bytes() / 1e6:.1f} MB")
            if journal.problem:
                table.add_row("[red]journal", journal.problem)
    else:
        for one in learned:
            table.add_row("[dim]folder", f"{one.root}: nothing saved yet, since {_date(one.since)}")
    table.add_row("[dim]watcher", _watcher())
    holder = trainer_pid()
    unfinished = Runs(places().data / "runs").unfinished()
    table.add_row("[dim]trainer", _at_work(holder, unfinished) if holder else "not running")
    for run in Runs(places().data / "runs").finished()[-N_NIGHTS:]:
        table.add_row("[dim]night", f"{_date(run.record.began)}  {run.record.outcome}")
    if unfinished is not None and holder is None:
        table.add_row(
            "[dim]night",
            f"{_date(unfinished.record.began)}  cut off at {unfinished.record.stage.value}; it is taken up",
        )
    if learned:
        with closing(ActivityMonitor()) as look:
            against = against_a_night(time.time(), look(), read_options())
        for refusal in against:
            table.add_row("[dim]waits", refusal.sentence)
        if not against:
            table.add_row("[dim]next", "a night may begin now")
    table.add_row("[dim]serving", _serving())
    console.print(table, soft_wrap=True)


def _at_work(pid: int, run: Run | None) -> str:
    """Who trains, or judges, or forgets; and how far it is."""
    if run is None:
        return f"process {pid} is at work"
    said = f"process {pid} is at work on the night of {_date(run.record.began)}: "
    night = read_night()
    if night is None or night.run != run.record.id:
        return said + run.record.stage.value
    share = "" if night.share is None else f", {night.done} of {night.total} ({night.share:.0%})"
    return said + escape(night.stage + share + (f"; {night.stands_still}" if night.stands_still else ""))


def _watcher() -> str:
    installed = service()
    if is_watching():
        return "running"
    if installed is not None and installed.is_installed:
        return f"installed ({installed.path}), not running"
    return "not running: understudy learn watch, or understudy learn on PATH to install the service"


def _serving() -> str:
    from trainer.adapters.versions import Versions  # noqa: PLC0415 - opens the model's folder

    try:
        current = Versions().current()
    except RuntimeFault as fault:
        return fault.message
    return "the base model" if current.name is None else f"{current.name}, strength {current.strength:g}"


def _date(when: float) -> str:
    return datetime.fromtimestamp(when).strftime("%d %b %Y %H:%M")
