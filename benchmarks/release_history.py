"""The successive releases of a PyPI package as a git history: what changed in a release is what its author did that day.

    python benchmarks/release_history.py rich FOLDER --releases 40

For `day_replay.py`, on packages that the tests' tiny model never saw (attrs, click, flask, httpx, rich). Every release is a day; every changed file is a commit of its own, so that a release is many edits and not one bulk commit. Wheels are fetched
by pip by name and version; pre-releases are left out. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click

MAX_FILE_BYTES = 400_000
_VERSION = re.compile(r"\d+(\.\d+)*")


def author(package: str) -> str:
    """The e-mail address under which the history is written."""
    return f"{package}@releases.invalid"


def build(package: str, folder: Path, n_releases: int, archives: Path) -> int:
    """Write the history of the newest `n_releases` into an empty `folder`; how many commits it has."""
    _git(folder, "init", "-q", "-b", "main")
    versions = released(package)[-n_releases:]
    today = int(time.time()) // 86400
    n_commits, before = 0, dict[str, str]()
    for n, version in enumerate(versions):
        after = dict(_sources(_fetched(package, version, archives / version)))
        for minute, path in enumerate(sorted(_changed(before, after))):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(after[path])
            _git(folder, "add", "--", path)
            stamp = f"{(today - len(versions) + n) * 86400 + 36000 + 30 * minute} +0000"
            _git(folder, "commit", "-q", "--allow-empty", "-m", f"{version}: {path}", who=package, date=stamp)
            n_commits += 1
        before = before | after
    return n_commits


def released(package: str) -> list[str]:
    """All final versions, oldest first."""
    command = [sys.executable, "-m", "pip", "index", "versions", "--json", package]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    finals = [version for version in said["versions"] if _VERSION.fullmatch(version)]
    return sorted(finals, key=lambda version: [int(part) for part in version.split(".")])


def _fetched(package: str, version: str, folder: Path) -> Path:
    """The wheel of a release, fetched unless it is in `folder`."""
    if not list(folder.glob("*.whl")):
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"{package}=={version}"], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def _sources(wheel: Path) -> Iterator[tuple[str, str]]:
    """Python's files, read without unpacking."""
    with zipfile.ZipFile(wheel) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.filename.endswith(".py") and 0 < info.file_size <= MAX_FILE_BYTES:
                yield info.filename, archive.read(info).decode("utf-8", "replace")


def _changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [path for path, text in after.items() if before.get(path) != text]


def _git(folder: Path, *arguments: str, who: str = "", date: str = "") -> None:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    if who:
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{role}_NAME": who, f"GIT_{role}_EMAIL": author(who), f"GIT_{role}_DATE": date}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@click.command()
@click.argument("package")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--releases", default=40, help="So many of the newest.")
@click.option(
    "--archives", type=click.Path(path_type=Path), default=Path(".cache/releases"), help="Where wheels are kept."
)
def main(package: str, folder: Path, releases: int, archives: Path) -> None:
    """Build the history, and say what it has."""
    folder.mkdir(parents=True)
    n_commits = build(package, folder, releases, archives / package)
    print(json.dumps({"package": package, "author": author(package), "folder": str(folder), "commits": n_commits}))


if __name__ == "__main__":
    main()
