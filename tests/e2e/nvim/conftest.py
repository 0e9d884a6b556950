"""Neovims from Debian's packages, set up by `set_up.sh` when they are first wanted; a daemon that says what a test wants."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from echo_daemon import PATIENT, EchoDaemon, end_daemons
from neovim import Neovim

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / ".cache" / "nvim"
SUITES = {"0.12": "forky", "0.10": "trixie"}


@cache
def set_up(suite: str) -> Path:
    """The program of a suite, or `$UNDERSTUDY_TEST_NVIM`; skips the test, with the reason, where it cannot be had."""
    if own := os.environ.get("UNDERSTUDY_TEST_NVIM"):
        return Path(own)
    command = [str(HERE / "set_up.sh"), str(FOLDER), suite]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"{command[0]}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return Path(done.stdout.split()[-1])


@pytest.fixture(params=list(SUITES))
def program(request: pytest.FixtureRequest) -> Path:
    """Each Neovim that is supported."""
    return set_up(SUITES[request.param])


@pytest.fixture
def newest() -> Path:
    """The newest Neovim, for what has nothing to do with its version."""
    return set_up(SUITES["0.12"])


@pytest.fixture
def _no_daemon_left(home: Path) -> Iterator[None]:
    """Set up before editors start, so that it looks after they have ended: while one runs, it replaces a daemon that is gone."""
    yield
    end_daemons(home)


@pytest.fixture
def daemon(home: Path, _no_daemon_left: None) -> EchoDaemon:
    return EchoDaemon(home, PATIENT)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "w"
    (folder / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def start(workspace: Path, _no_daemon_left: None) -> Iterator[Callable[..., Neovim]]:
    """Start a Neovim in the workspace, with this environment's `understudy`; all end with the test."""
    with ExitStack() as stack:

        def start(program: Path, options: str = "", **more: Any) -> Neovim:
            command = f"command = '{Path(sys.executable).parent / 'understudy'}', "
            return stack.enter_context(Neovim(program, workspace, options=command + options, **more))

        yield start
