"""`understudy runtime`: start, stop and look at the daemon."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local_runtime.client import lifecycle, lock
from local_runtime.client.client import Client
from local_runtime.client.sockets import crash_path, lock_path, log_path, socket_path, token_path
from local_runtime.client.wire import Health
from local_runtime.errors import DaemonUnreachable, NotReady
from local_runtime.places import places

LOAD_SECONDS = 900.0
EXAMPLES = """\b
Examples:
  understudy runtime start                       the chosen model, on the Unix socket
  understudy runtime start --model qwen --port 0 another model; also a loopback port for other clients
  understudy runtime status                      who serves what, since when
  understudy runtime logs -f                     follow the log: outcomes and times, no texts
  understudy runtime stop                        editors start it again when they need it
"""


def _absolute(_ctx: click.Context, _option: click.Parameter, engine: str | None) -> str | None:
    """The daemon runs in `/`: a script's path must not depend on where it was started."""
    kind, _, script = (engine or "").partition(":")
    return f"{kind}:{Path(script).absolute()}" if script else engine


@click.group(epilog=EXAMPLES)
def runtime() -> None:
    """The daemon: one model for every editor on this machine. Editors start it on their own."""


@runtime.command(epilog="\b\nExample:\n  understudy runtime start --model qwen2.5-coder-0.5b --idle-minutes 240\n")
@click.option("--model", help="Name of an imported model (default: the one that is chosen).")
@click.option("--port", type=click.IntRange(0, 65535), help="Also listen on this port of 127.0.0.1; 0 chooses one.")
@click.option(
    "--idle-minutes", type=click.FloatRange(0, min_open=True), help="End after this long without a request (30)."
)
@click.option(
    "--engine", callback=_absolute, help="`compiled` (default), `remote`, `mlc_llm`, or `echo[:FILE]` for tests."
)
@click.option("--foreground", is_flag=True, help="Stay in this terminal; Ctrl-C ends it.")
@click.option("--no-wait", is_flag=True, help="Return before the model is loaded.")
def start(*, foreground: bool, no_wait: bool, **given: str | int | float | None) -> None:
    """Start the daemon and wait until its model answers."""
    overrides = {name: value for name, value in given.items() if value is not None}
    if foreground:
        from local_runtime.daemon.process import run  # noqa: PLC0415 - a whole server, for this option alone

        run(msgspec.json.encode(overrides).decode(), None)
        return
    with Client("cli", overrides=overrides) as client:
        started = lifecycle.start(overrides)
        if not started and overrides:
            click.echo("a daemon runs already; options count for a new one: understudy runtime stop", err=True)
        health = client.ensure_running()
        if not no_wait:
            health = _loaded(client, health)
    _print_status(health)


@runtime.command(epilog="\b\nExample:\n  understudy runtime stop --force\n")
@click.option("--force", is_flag=True, help="Also if it does not answer: SIGTERM, then SIGKILL.")
def stop(force: bool) -> None:
    """End the daemon. What runs is finished first, for up to three seconds."""
    with Client("cli", start=False) as client:
        ended = client.stop()
    if not ended and force:
        ended = lifecycle.kill() is not None
    holder = lock.holder(lock_path())
    if not ended and holder is not None and holder.alive():
        raise DaemonUnreachable(f"process {holder.pid} does not answer", "understudy runtime stop --force")
    click.echo("stopped" if ended else "no daemon was running")


@runtime.command(epilog="\b\nExample:\n  understudy runtime status --json | jq .model.id\n")
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
@click.option("--token", is_flag=True, help="Print the loopback port's token, for the settings of another client.")
def status(as_json: bool, token: bool) -> None:
    """Who serves what. Exit status 1 if nobody does."""
    if token:
        if not token_path().exists():
            raise DaemonUnreachable(
                "there is no token yet: no loopback port was ever opened", "understudy runtime start --port 0"
            )
        click.echo(token_path().read_text().strip())
        return
    with Client("cli", start=False) as client:
        health = client.health()
    if as_json:
        click.echo(msgspec.json.encode(health).decode())
    else:
        _print_status(health)


@runtime.command(epilog="\b\nExample:\n  understudy runtime logs -n 200 -f\n")
@click.option(
    "-n", "--lines", type=click.IntRange(0, 100_000), default=50, show_default=True, help="How many of the last lines."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines.")
def logs(lines: int, follow: bool) -> None:
    """The daemon's log, and what a start that failed said."""
    for path in (crash_path(), log_path()):
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                for line in deque(file, maxlen=lines):
                    click.echo(line, nl=False)
    if follow:
        for line in _new_lines(log_path()):
            click.echo(line, nl=False)


def _loaded(client: Client, health: Health) -> Health:
    """Wait with a progress bar; raises NotReady."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + LOAD_SECONDS
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(health.message or health.status, total=None)
        while health.status in ("loading", "compiling") and time.monotonic() < deadline:
            health = client.health(wait_seconds=0.2)
            done = health.progress
            progress.update(
                task,
                description=health.message or health.status,
                total=None if done is None else 1.0,
                completed=done or 0,
            )
    if health.status != "ready":
        raise NotReady(
            health.message or f"the model is still {health.status}", health.remedy or "understudy runtime logs"
        )
    return health


def _print_status(health: Health) -> None:
    table = Table.grid(padding=(0, 2))
    rows = {"state": health.status + (f": {health.message}" if health.message else "")}
    if health.remote:
        rows["remote"] = f"prompts are sent to {health.remote}, as {places().config_file} says"
    if health.model:
        model = health.model
        rows["model"] = f"{model.id} ({model.quantization} on {model.device}, context {model.context_tokens})"
        rows["adapter"] = f"{health.active.adapter} x {health.active.strength:g}" if health.active.adapter else "none"
    rows["process"] = (
        f"{health.pid}, version {health.version}, up {health.uptime_seconds:.0f} s, idle {health.idle_seconds:.0f} s"
    )
    rows["socket"] = str(socket_path())
    if health.port:
        rows["port"] = f"127.0.0.1:{health.port} (token: understudy runtime status --token)"
    if health.remedy:
        rows["to mend it"] = health.remedy
    for name, value in rows.items():
        table.add_row(f"[dim]{name}", value)
    Console(soft_wrap=True).print(table)
    if health.status == "failed":
        sys.exit(1)


def _new_lines(path: Path) -> Iterator[str]:
    """Lines as they are written, over rotations."""
    while not path.exists():
        time.sleep(0.5)
    while True:
        with path.open(encoding="utf-8", errors="replace") as file:
            inode = path.stat().st_ino
            file.seek(0, 2)
            while path.exists() and path.stat().st_ino == inode:
                if line := file.readline():
                    yield line
                else:
                    time.sleep(0.25)
