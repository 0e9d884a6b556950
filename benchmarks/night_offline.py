"""A whole night without a network: in a namespace that has no interface, and with every socket that is opened counted.

    python benchmarks/night_offline.py [--steps 10]

Needs Linux and `unshare` (util-linux); with `strace` the sockets of all processes, the daemon's too, are counted by family. The
tests' tiny model, in a home of its own: learning, judging and promoting (`learn now`), the report, and forgetting. Exit status 1 if an internet socket was opened. One JSON line at the end.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
from night_world import add, house, own_home

from local_runtime.places import places
from trainer.nightly.runs import Runs

N_EDITS = 280


def isolated() -> list[str]:
    """A prefix that runs a command where there is no network interface but a dead loopback."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise click.ClickException("unshare is not installed (util-linux)")
    for flags in (["-n"], ["-rn"]):
        if subprocess.run([unshare, *flags, "true"], capture_output=True, check=False).returncode == 0:
            return [unshare, *flags]
    raise click.ClickException("this system lets nobody make a network namespace")


def traced(log: Path) -> list[str]:
    """A prefix that writes down every socket of a command and of all it starts."""
    strace = shutil.which("strace")
    return [strace, "-f", "-qq", "--seccomp-bpf", "-e", "trace=socket,socketpair", "-o", str(log)] if strace else []


def run(prefix: list[str], *commands: tuple[str, ...]) -> None:
    """Our commands, one after the other; the last one ends the daemon, which would otherwise be waited for."""
    program = [sys.executable, "-c", "from local_runtime.cli.command import main; main()"]
    script = " && ".join(shlex.join([*program, *arguments]) for arguments in commands)
    subprocess.run([*prefix, "sh", "-ec", script], check=True)


@click.command()
@click.option("--steps", default=10, show_default=True, help="Optimiser steps of the night.")
def main(steps: int) -> None:
    """See the module's docstring."""
    with own_home() as home:
        add(home / "shop", house(home / "shop", N_EDITS))
        namespace, log = isolated(), home / "sockets"
        interfaces = subprocess.run([*namespace, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True)
        forgotten = str(home / "shop" / "voucher.py")
        run(
            [*namespace, *traced(log)],
            ("learn", "now", "--steps", str(steps)),
            ("report",),
            ("runtime", "stop"),
        )
        (record,) = [one.record for one in Runs(places().data / "runs").finished()]
        sockets = log.read_text() if log.exists() else ""
        run([*namespace, *traced(log)], ("forget", forgotten, "--yes", "--later"))
        sockets += log.read_text() if log.exists() else ""
        families = Counter(re.findall(r"socket(?:pair)?\((\w+)", sockets))
    internet = families["AF_INET"] + families["AF_INET6"]
    result = {
        "interfaces": [line.split(":")[0].strip() for line in interfaces.stdout.splitlines()[2:]],
        "traced": bool(traced(Path(os.devnull))),
        "sockets": dict(families),
        "internet_sockets": internet,
        "outcome": record.outcome,
    }
    print(json.dumps(result))
    sys.exit(1 if internet else 0)


if __name__ == "__main__":
    main()
