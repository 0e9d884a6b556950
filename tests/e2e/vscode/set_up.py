"""Brings what the VS Code tests need: VS Code's own server (inside npm's code-server) and Chromium (Debian's package).

`python tests/e2e/vscode/set_up.py` may be run again and again: what is there is left alone. It lies in a cache folder outside
the tree (`UNDERSTUDY_TEST_CACHE`, or the user's cache folder), so that another clone finds it too.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

CODE_SERVER = "4.139.1"
"""Carries VS Code 1.139.1."""
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NPM_INSTALL = ("npm", "install", "--silent", "--ignore-scripts", "--omit=dev")


class CannotSetUp(Exception):
    """What this machine lacks, in words for whoever reads why a test was skipped."""


@dataclass(frozen=True, slots=True)
class VsCode:
    """What a window is made of."""

    main: Path
    """The script that serves VS Code; node runs it."""
    chromium: Path


def set_up() -> VsCode:
    """Everything in its place, downloaded if need be. Raises CannotSetUp."""
    with _alone(_cache()):
        return VsCode(_code_server(_cache() / f"code-server-{CODE_SERVER}"), _chromium())


def _code_server(folder: Path) -> Path:
    main = folder / "node_modules" / "code-server" / "lib" / "vscode" / "out" / "server-main.js"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"private": True}))
        # Without install scripts nothing is compiled; what is missing then (logs on disk, terminals) no test needs.
        _run(*NPM_INSTALL, f"code-server@{CODE_SERVER}", cwd=folder)
        _run(*NPM_INSTALL, cwd=main.parents[1])
        done.touch()
    return main


def _chromium() -> Path:
    if (found := _found_chromium()) is not None:
        return found
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotSetUp("no Chromium here, and installing it takes apt-get and root: apt-get install chromium")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "update", "-q", env=quiet)
    _run("apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium", env=quiet)
    if (found := _found_chromium()) is None:
        raise CannotSetUp("apt-get installed chromium, but there is no command of that name")
    return found


def _found_chromium() -> Path | None:
    found = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    return Path(found) if found else None


def _cache() -> Path:
    named = os.environ.get("UNDERSTUDY_TEST_CACHE")
    return (Path(named) if named else user_cache_path("understudy-tests")) / "vscode"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One set-up at a time; a killed one holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    env = env or dict(os.environ)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"  # node and npm of this environment
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except OSError as problem:
        raise CannotSetUp(f"{command[0]} does not run: {problem}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise CannotSetUp(f"`{' '.join(command)}` failed on {platform.node()}: {' / '.join(last)}")


if __name__ == "__main__":
    try:
        print(set_up())
    except CannotSetUp as problem:
        sys.exit(str(problem))
