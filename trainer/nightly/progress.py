"""A night in a terminal: one line per stage, a bar while it trains."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from local_runtime.errors import NotReady
from trainer.nightly.events import Event
from trainer.nightly.runs import Record


def show(console: Console, events: Iterator[Event]) -> Record:
    """Print a night as it goes on; what became of its run. Ctrl-C closes the night, which is taken up later."""
    record = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        try:
            for event in events:
                if event.step is not None:
                    loss = "" if event.loss is None else f"  {event.loss:.3f} nats per token"
                    bars.update(
                        task, description=f"training{loss}", completed=event.step, total=event.n_steps, visible=True
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
