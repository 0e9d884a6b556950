"""`understudy setup`, for people, and with `--json` for editors."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

import local_runtime
from local_runtime.cli.model_import import quantization_option
from local_runtime.errors import RuntimeFault
from local_runtime.setup.choice import Machine

EXAMPLES = """\b
Examples:
  understudy setup                              looks at this machine, proposes a model, asks, and sets it up
  understudy setup --yes                        without a question
  understudy setup --model qwen2.5-coder-1.5b   this one; also a file, a folder, or what `understudy model find` lists
  understudy setup --offline                    with what this machine has
"""
INTERRUPTED = 130
VSIX = Path("editors", "vscode", "understudy.vsix")
WORDS = {
    "measure": "measuring",
    "fetch": "downloading",
    "import": "importing",
    "compile": "compiling",
    "warm": "starting",
}


class Teller(Protocol):
    """Who is told what happens."""

    def machine(self, machine: Machine) -> None:
        """What was found."""

    def plan(self, plan: Any) -> None:
        """What is about to be done."""

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """How far it is."""

    def close(self) -> None:
        """A step has ended, well or not."""

    def done(self, model: str, changed: bool, seconds: float) -> None:
        """It ended well."""


@click.command(epilog=EXAMPLES)
@click.option(
    "--model", "wanted", help="A name of the catalogue, an imported model, a path, or ollama:NAME and the like."
)
@quantization_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--offline", is_flag=True, help="Download nothing: use what this machine has.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line; asks nothing, and does nothing without --yes."
)
def setup(
    *, wanted: str | None, quantization: str | None, yes: bool, offline: bool, dry_run: bool, as_json: bool
) -> None:
    """Bring a model that fits this machine, and have it answer. Run again, it changes nothing."""
    teller: Teller = JsonTeller() if as_json else TerminalTeller()
    try:
        _set_up(teller, wanted, quantization, yes=yes, offline=offline, only_plan=dry_run or (as_json and not yes))
    except RuntimeFault as fault:
        if not as_json:
            raise
        _print(event="failed", message=fault.message, fix=fault.remedy)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        if not as_json:
            click.echo("\nstopped; the same command goes on from here", err=True)
        raise SystemExit(INTERRUPTED) from None


def _set_up(
    teller: Teller, wanted: str | None, quantization: str | None, *, yes: bool, offline: bool, only_plan: bool
) -> None:
    from local_runtime.setup import steps  # noqa: PLC0415  loads the client and the importer

    began = time.monotonic()
    done_already = steps.ready()
    if done_already and wanted in (None, done_already):
        teller.done(done_already, False, time.monotonic() - began)
        return
    machine = steps.look()
    teller.machine(machine)
    with closing(teller):
        plan = steps.plan(machine, wanted, quantization, teller.progress, offline=offline)
    teller.plan(plan)
    if only_plan:
        return
    if not yes and plan.download_bytes:
        click.confirm(f"download {decimal(plan.download_bytes)} and set it up?", default=True, abort=True)
    with closing(teller):
        steps.carry_out(plan, teller.progress, offline=offline)
    teller.done(plan.model, True, time.monotonic() - began)


class JsonTeller:
    """For programs: an object a line."""

    def machine(self, machine: Machine) -> None:
        """`machine`, with its figures."""
        _print(event="machine", **asdict(machine))

    def plan(self, plan: Any) -> None:
        """`plan`: what will be brought, and what it takes."""
        names = (
            "model",
            "title",
            "quantization",
            "licence",
            "non_commercial",
            "download_bytes",
            "disk_bytes",
            "reason",
        )
        _print(event="plan", alternatives=list(plan.alternatives), **{name: getattr(plan, name) for name in names})

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """`progress`: bytes where they are known, else zeros."""
        _print(event="progress", stage=stage, done=done, total=total, text=text)

    def close(self) -> None:
        """Nothing: each line stands for itself."""

    def done(self, model: str, changed: bool, seconds: float) -> None:
        """`done`: which model answers, and whether anything was changed."""
        _print(event="done", model=model, changed=changed, seconds=round(seconds, 1))


class TerminalTeller:
    """For people."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True)
        self._bar: Progress | None = None
        self._task: tuple[str, TaskID] | None = None

    def machine(self, machine: Machine) -> None:
        """One line."""
        memory = f"{machine.memory_bytes / 1e9:.0f} GB of memory, {machine.free_memory_bytes / 1e9:.1f} GB free"
        self._console.print(f"{machine.n_cores} cores, {memory}, running on: {machine.device}", highlight=False)

    def plan(self, plan: Any) -> None:
        """A table, and what else there would be."""
        table = Table.grid(padding=(0, 2))
        rows = {
            "model": f"{plan.title}, {plan.quantization}",
            "licence": plan.licence,
            "download": decimal(plan.download_bytes) if plan.download_bytes else "nothing",
            "disk": decimal(plan.disk_bytes) if plan.disk_bytes else "nothing more",
            "why": plan.reason,
        }
        for name, value in rows.items():
            table.add_row(f"[dim]{name}", value)
        self._console.print(table)
        for other in plan.alternatives:
            self._console.print(f"[dim]or[/dim]  {other}    [dim](--model)[/dim]", highlight=False)

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """A bar a stage; over bytes where those are known."""
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
        if self._task is None or self._task[0] != stage:
            self._task = stage, self._bar.add_task(WORDS[stage], total=total or None, text="")
        so_far = f"{decimal(done)} of {decimal(total)}" if total else text
        self._bar.update(self._task[1], completed=done, total=total or None, text=so_far)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None

    def done(self, model: str, changed: bool, seconds: float) -> None:
        """What answers now, and the editors' lines."""
        if not changed:
            click.echo(f"{model} answers already; nothing to do")
            return
        click.echo(f"{model} answers now, after {seconds:.0f} s. For your editor:\n{editor_lines()}")


def editor_lines() -> str:
    """What to run or paste for each editor; with the real path in a checkout."""
    checkout = Path(local_runtime.__file__).parents[1]
    root = checkout if (checkout / "editors").is_dir() else Path("/path/to/understudy")
    return (
        f"  VS Code   make -C {shlex.quote(str(root))} vsix && code --install-extension {shlex.quote(str(root / VSIX))}\n"
        f"  Neovim    {{ dir = '{root / 'editors' / 'nvim'}', name = 'understudy', opts = {{}} }}   (lazy.nvim)"
    )


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)
