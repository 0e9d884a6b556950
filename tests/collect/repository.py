"""Real git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

EMAIL = "ada@example.org"


def git(folder: Path, *arguments: str, date: float | None = None, email: str = EMAIL) -> str:
    """Run git as its user does, with no configuration but the repository's own."""
    when = {} if date is None else {"GIT_AUTHOR_DATE": f"@{date:.0f} +0000", "GIT_COMMITTER_DATE": f"@{date:.0f} +0000"}
    names = {
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_EMAIL": email,
    }
    environment = {**os.environ, **names, **when, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    """A new repository whose user is `EMAIL`."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.email", EMAIL)
    git(folder, "config", "user.name", "Ada")
    return folder


def commit(folder: Path, files: dict[str, str], date: float, email: str = EMAIL) -> str:
    """Write files, commit them, and return the commit's id."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Work", date=date, email=email)
    return git(folder, "rev-parse", "HEAD")
