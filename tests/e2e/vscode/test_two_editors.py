"""VS Code and Neovim at once, on one daemon: one model in memory, one adapter, one set of switches after a restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo_daemon import daemons
from window import Window

from local_runtime.client import lock
from local_runtime.client.sockets import lock_path

NVIM_TESTS = Path(__file__).parents[1] / "nvim"
sys.path.append(str(NVIM_TESTS))
from neovim import TAB, Neovim  # noqa: E402 - the harness of the other editor's tests

pytestmark = pytest.mark.e2e


@pytest.fixture
def neovim(window: Window) -> Iterator[Neovim]:
    """A Neovim in the same folder as the window."""
    cache = NVIM_TESTS.parents[2] / ".cache" / "nvim"
    done = subprocess.run([NVIM_TESTS / "set_up.sh", cache, "forky"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no Neovim: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    command = f"command = '{Path(sys.executable).parent / 'understudy'}'"
    with Neovim(Path(done.stdout.split()[-1]), window.folder, options=command) as one:
        yield one


def pids(home: Path) -> list[int]:
    return [one.pid for one in daemons(home)]


def test_two_editors_share_one_daemon_and_survive_it_together(window: Window, neovim: Neovim, home: Path) -> None:
    window.open("a.py", b"\n")
    window.status("echo")
    path = neovim.open("b.py", "\n")
    neovim.ready()
    holder = lock.holder(lock_path())
    assert holder is not None
    window.until(lambda: pids(home) == [holder.pid], lambda: f"the daemons are {pids(home)}, the holder {holder.pid}")
    window.go_to(1)
    window.type("x = ")
    window.sees("compute(a, b)")
    neovim.type("iy = ")
    neovim.suggests("y = compute(a, b)")
    os.kill(holder.pid, signal.SIGKILL)
    window.press("Escape", "Enter")
    window.type("z = ")
    window.gets("compute(a, b)")
    neovim.gets("y = compute(a, b)")
    # Both editors start one at once; the one that finds the lock taken ends by itself.
    window.until(lambda: len(pids(home)) == 1, lambda: f"the daemons are {pids(home)}")
    assert pids(home) != [holder.pid]
    neovim.type(TAB)
    assert neovim.save(path) == b"y = compute(a, b)\n"
    window.press("Tab")
    window.saves(b"x = \nz = compute(a, b)\n")
