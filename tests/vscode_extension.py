"""The VS Code extension's folder, and npm in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXTENSION = Path(__file__).parents[1] / "editors" / "vscode"


def npm(*words: str) -> str:
    """Run npm with this environment's node, its packages installed as the lock file says; what it said."""
    installed, lock = EXTENSION / "node_modules" / ".package-lock.json", EXTENSION / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        # Not `npm ci`: it wants the binaries of all platforms in the lock, and a mirror may have only some.
        _run("npm", "install", "--no-save", "--ignore-scripts")
    return _run("npm", *words)


def _run(*command: str) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=EXTENSION, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
