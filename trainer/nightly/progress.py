"""A night in a terminal: one line per stage, a bar while it trains and while it is judged.

Through a pipe, as editors read it, there is a line for about every 5 % of the bar.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from local_runtime.errors import NotReady
from trainer.nightly.events import Event, sparingly
from trainer.nightly.runs import Record, Stage


def show(console: Console, events: Iterator[Event]) -> Record:
    """Print a night as it goes on; what became of its run. Ctrl-C closes the night, which is taken up later."""
    record = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        try:
            for event in events if console.is_terminal else sparingly(events):
                if event.done is not None and console.is_terminal:
                    loss = "" if event.loss is None else f"  {event.loss:.3f} nats per token"
                    what = "training" if event.stage is Stage.TUNE else "judging"
                    bars.update(
                        task,
                        description=what + loss,
                        completed=event.done,
                        total=event.total,
                        visible=True,
                        refresh=True,
                    )
                    continue
                bars.update(task, visible=False)
                console.print(f"[dim]{event.stage.value:>8}[/dim]  {event.text}", soft_wrap=True)
                record = event.record or record
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
    if record is None:
        raise NotReady("the night ended without a result", "understudy learn now")
    return record
