"""`understudy learn`: which folders are learnt from, what that means, and when."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from local_runtime.errors import BadRequest, RuntimeFault
from trainer.nightly.durations import Duration

EXAMPLES = """\b
Examples:
  understudy learn on ~/work/shop --since 90d   from now on, and from your commits of 90 days
  understudy learn preview                      what would be trained on, and what is left out
  understudy learn now                          train at once instead of at night
  understudy learn status                       what is on, and what the next night waits for
  understudy learn pause --for 2h               nothing is recorded or trained meanwhile
  understudy learn off ~/work/shop              no more; what was learnt stays (see understudy forget)
"""


@click.group(epilog=EXAMPLES)
def learn() -> None:
    """Learn from the folders you name, at night. Off by default; nothing leaves this machine."""


@learn.command(
    epilog="\b\nExamples:\n  understudy learn on .\n  understudy learn on ~/work/shop ~/work/tools --since 90d --yes\n"
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--since", type=Duration(), metavar="SPAN", help="Also learn from your commits of this long: 90d, 26w, 1y."
)
@click.option(
    "--author", "emails", multiple=True, metavar="EMAIL", help="Whose commits are yours (default: git's user.email)."
)
@click.option("--yes", is_flag=True, help="Install the login service without asking.")
@click.option("--no-service", is_flag=True, help="No login service: run `understudy learn watch` yourself.")
def on(paths: tuple[Path, ...], since: float | None, emails: tuple[str, ...], yes: bool, no_service: bool) -> None:
    """Opt folders in: what you save there is learnt from, from now on."""
    from trainer.collect.folders import LearnedFolders  # noqa: PLC0415 - `--help` needs none of this

    folders, console = LearnedFolders(), Console(highlight=False)
    began = time.time()
    for path in paths:
        learnt = folders.on(path, None if since is None else began - since)
        console.print(f"on: {learnt.root}", soft_wrap=True)
        if since is not None:
            _back_fill(console, learnt.root, began - since, emails)
    console.print("What would be trained on: [bold]understudy learn preview[/bold]")
    if not no_service:
        _offer_service(console, yes)


@learn.command(epilog="\b\nExample:\n  understudy learn off ~/work/shop\n")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
def off(paths: tuple[Path, ...]) -> None:
    """Opt folders out. What was learnt stays; `understudy forget` removes that, too."""
    from trainer.collect.folders import LearnedFolders  # noqa: PLC0415
    from trainer.nightly.service import service  # noqa: PLC0415

    folders, console = LearnedFolders(), Console(highlight=False)
    for path in paths:
        if not folders.off(path):
            known = ", ".join(one.root for one in folders.all()) or "none"
            raise BadRequest(f"{path} is not learnt from; opted in are: {known}", "understudy learn status")
        console.print(f"off: {path}; to remove what was learnt there: understudy forget {path}", soft_wrap=True)
    if not folders.all() and (installed := service()) is not None and installed.remove():
        console.print(f"no folder is left: the login service {installed.path} is removed", soft_wrap=True)


@learn.command(epilog="\b\nExample:\n  understudy learn status\n")
def status() -> None:
    """What is learnt from, what the last nights brought, and what the next one waits for."""
    from trainer.nightly.status import print_status  # noqa: PLC0415

    print_status(Console(highlight=False))


@learn.command(
    epilog="\b\nExamples:\n  understudy learn preview\n  understudy learn preview ~/work/shop --examples 10\n"
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--files", "n_files", type=click.IntRange(0), default=40, show_default=True, help="How many files to list."
)
@click.option(
    "--examples", "n_examples", type=click.IntRange(0), default=3, show_default=True, help="How many examples to show."
)
def preview(path: Path | None, n_files: int, n_examples: int) -> None:
    """The files and the rendered examples that would be trained on; and what was left out, and why."""
    from trainer.nightly.preview import print_preview  # noqa: PLC0415

    print_preview(Console(highlight=False), path, n_files, n_examples)


@learn.command(
    epilog="\b\nExamples:\n  understudy learn now\n  understudy learn now --rebuild     from the base, not from yesterday's adapter\n"
)
@click.option("--rebuild", is_flag=True, help="Train from the base model instead of from the adapter that serves.")
@click.option("--preset", metavar="NAME", help="Another recipe than the configured one; see `understudy train --help`.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="At most so many steps: a quick night learns less.")
def now(rebuild: bool, preset: str | None, steps: int | None) -> None:
    """Run a night now: train, judge, and let the better one serve. It still makes way while you type."""
    from trainer.nightly.night import night_of_user  # noqa: PLC0415
    from trainer.nightly.progress import show  # noqa: PLC0415
    from trainer.nightly.runs import Reason  # noqa: PLC0415
    from trainer.nightly.watching import catch_up  # noqa: PLC0415

    catch_up()
    asked = Reason.ASKED if rebuild else None
    run = show(Console(highlight=False), night_of_user(asked, preset=preset, max_steps=steps or 0))
    if run.failed:
        raise RuntimeFault(run.outcome)


@learn.command(
    epilog="\b\nExamples:\n  understudy learn pause            until you resume\n  understudy learn pause --for 2h\n"
)
@click.option("--for", "seconds", type=Duration(), metavar="SPAN", help="How long: 30m, 2h, 1d.")
def pause(seconds: float | None) -> None:
    """Record nothing and train nothing; what trains now stands still within two seconds."""
    from trainer.collect.folders import LearnedFolders  # noqa: PLC0415

    until = None if seconds is None else time.time() + seconds
    LearnedFolders().pause(until)
    end = "until: understudy learn resume" if until is None else f"until {datetime.fromtimestamp(until):%d %b %H:%M}"
    click.echo(f"paused {end}")


@learn.command(epilog="\b\nExample:\n  understudy learn resume\n")
def resume() -> None:
    """End a pause."""
    from trainer.collect.folders import LearnedFolders  # noqa: PLC0415

    LearnedFolders().resume()
    click.echo("learning goes on")


@learn.command(epilog="\b\nExample:\n  understudy learn watch\n")
def watch() -> None:
    """Watch the opted-in folders and train at night, in this terminal. The login service runs the same."""
    from trainer.nightly.watching import watch_and_train  # noqa: PLC0415

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    watch_and_train(stop)


def _back_fill(console: Console, root: str, since: float, emails: tuple[str, ...]) -> None:
    from trainer.collect.git_history import back_fill  # noqa: PLC0415
    from trainer.collect.journal import Journal  # noqa: PLC0415
    from trainer.collect.refusals import Refused  # noqa: PLC0415
    from trainer.edits import EditEvent  # noqa: PLC0415

    refused: list[Refused] = []
    n_found = 0
    with _counting(console) as progress, closing(Journal()) as journal:
        task = progress.add_task("your commits", total=None)

        def counted() -> Iterator[EditEvent]:
            nonlocal n_found
            for event in back_fill(root, since, emails, report=refused.append):
                n_found += 1
                progress.update(task, description=f"your commits: {n_found} edits")
                yield event

        n_new = journal.store(counted())
        journal.refuse(refused)
        if journal.problem:
            console.print(journal.problem, soft_wrap=True)
    console.print(f"{n_new} edits from your commits, {n_found - n_new} were known or alike, {len(refused)} left out")


def _offer_service(console: Console, yes: bool) -> None:
    """Show the login service and install it, if the user agrees."""
    from trainer.nightly.service import service  # noqa: PLC0415

    offered = service()
    if offered is None:
        console.print("This system has no login services that we know: run `understudy learn watch` in a terminal.")
        return
    if offered.is_installed:
        console.print(f"The login service is installed: {offered.path}", soft_wrap=True)
        return
    console.print(
        f"\nA login service watches these folders and trains at night. It would be written to\n{offered.path}:\n",
        soft_wrap=True,
    )
    console.print(offered.text, soft_wrap=True, markup=False)
    if not yes and not click.confirm("Install it?", default=True):
        console.print("Not installed. `understudy learn watch` runs the same in a terminal.")
        return
    try:
        offered.install()
    except RuntimeFault as fault:  # a folder that is on stays on
        console.print(f"It could not be started: {fault}", soft_wrap=True)
        return
    console.print("Installed; `understudy learn off` removes it with the last folder.")


@contextmanager
def _counting(console: Console) -> Iterator[Progress]:
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True) as progress:
        yield progress
