"""Looks through folders that other programs keep: a bounded number of entries, and what cannot be read is told and passed over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from local_runtime.model.gguf.file import SPLIT_NAME

MAX_JSON_BYTES = 1 << 20
MAX_DEPTH = 5
MAX_ENTRIES = 20_000
"""Of one folder that is walked: a home is not a store."""

Told = Callable[[str], None]
"""Is told, in a sentence, what could not be looked at."""


def files(root: Path, depth: int, told: Told, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Files at most `depth` levels down, sorted. Hidden ones are left out, links to folders not followed."""
    n_seen = 0
    for folder, subfolders, names in os.walk(root, onerror=lambda problem: tell(problem, told)):
        level = len(Path(folder).relative_to(root).parts)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".")) if level < depth - 1 else []
        n_seen += len(names) + len(subfolders)
        if n_seen > MAX_ENTRIES:
            told(f"{root} has more than {MAX_ENTRIES:,} entries; the rest was not looked at")
            return
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith(".") and wanted(name))


def gguf_files(root: Path, depth: int, told: Told) -> Iterator[Path]:
    """GGUF files, of a split one the first part alone."""
    for path in files(root, depth, told, lambda name: name.lower().endswith(".gguf")):
        split = SPLIT_NAME.fullmatch(path.name)
        if split is None or int(split["part"]) == 1:
            yield path


def folders(root: Path, depth: int, told: Told) -> Iterator[Path]:
    """Folders exactly `depth` levels down, sorted. Links are followed: a store may lie on another disk."""
    try:
        inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as problem:
        tell(problem, told)
        return
    if len(inside) > MAX_ENTRIES:
        told(f"{root} has more than {MAX_ENTRIES:,} folders; the rest was not looked at")
    for path in inside[:MAX_ENTRIES]:
        if depth == 1:
            yield path
        else:
            yield from folders(path, depth - 1, told)


def tell(problem: OSError, told: Told) -> None:
    """Say that a folder cannot be read; one that is not there is no news."""
    if not isinstance(problem, FileNotFoundError | NotADirectoryError):
        told(f"{problem.filename} cannot be read: {problem.strerror}")


def is_file(path: Path) -> bool:
    """Whether it is a plain file, as far as one may know."""
    try:
        return path.is_file()
    except OSError:
        return False


def exists(path: Path) -> bool:
    """Whether something is there, as far as one may know."""
    try:
        return path.exists()
    except OSError:
        return False


def is_inside(path: Path, root: Path) -> bool:
    """Whether a file lies in `root` once all links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def small(path: Path, at_most: int = MAX_JSON_BYTES) -> bytes:
    """A plain file's content, or its beginning. Raises OSError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is no file")
    with path.open("rb") as file:
        return file.read(at_most)


def expanded(path: Path) -> Path:
    """With `~` replaced, if it stands for somebody's home."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def printable(text: str) -> str:
    """A name that somebody else chose, as it may be shown: it can steer no terminal and is valid Unicode."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
