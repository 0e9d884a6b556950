"""Commits and texts out of git, as a stream: `git log --raw -z` and `git cat-file --batch` (git-log(1), git-cat-file(1))."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

from trainer.collect import git
from trainer.collect.refusals import Refusal

_PIECE_BYTES = 1 << 16
_MAX_FIELD_BYTES = 1 << 16
_FORMAT = "--format=tformat:%x01%H%x02%at%x02%ae"
_EARLIEST = 100_000_000  # git takes a smaller number for a date of another kind
_FILE_MODES = frozenset({b"100644", b"100755", b"000000"})
_NO_OBJECT = frozenset(b"0")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of a commit."""

    path: str
    """Absolute."""
    before: str
    """Id of the text in git; empty when the file was new."""
    after: str
    """Empty when the file was deleted."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that is no merge."""

    id: str
    authored: float
    """Unix time, seconds."""
    email: str
    changes: tuple[FileChange, ...]
    """Of regular files; no links, no submodules."""


def commits(root: str, since: float, revisions: str) -> Iterator[Commit]:
    """Commits that touch files below `root` and were written since a Unix time, oldest first."""
    arguments = (
        "log", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-merges", "--no-ext-diff", "--no-textconv", "--no-show-signature",
        "--no-color", "--no-notes", "--reverse", "--relative", f"--since=@{max(int(since), _EARLIEST)}",
        _FORMAT, "--end-of-options", revisions, "--",
    )  # fmt: skip
    with git.running(root, *arguments) as process:
        assert process.stdout
        for commit in parsed(_fields(process.stdout), root):
            if commit.authored >= int(since) and commit.changes:  # git keeps whole seconds
                yield commit


def parsed(fields: Iterator[bytes], root: str) -> Iterator[Commit]:
    """Commits of the NUL-separated fields of `git log -z --raw` with our format. What makes no sense is passed over."""
    header: tuple[str, float, str] | None = None
    changes: list[FileChange] = []
    for raw in fields:
        field = raw.lstrip(b"\n")
        if field.startswith(b"\1"):
            if header:
                yield Commit(*header, tuple(changes))
            header, changes = _header(field[1:]), []
        elif field.startswith(b":"):
            path = next(fields, b"")
            change = _change(field[1:].split(b" "), path, root)
            if header and change:
                changes.append(change)
    if header:
        yield Commit(*header, tuple(changes))


class Objects:
    """Texts of git's objects, one after another from one process; each is bounded."""

    def __init__(self, root: str, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Objects:
        self._process = self._stack.enter_context(git.running(self._root, "cat-file", "--batch"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, id_: str) -> str | Refusal:
        """The text of an object (an id, or a name such as `:path` for the index), or why there is none."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None or "\n" in id_:
            return Refusal.GONE
        try:
            process.stdin.write(id_.encode("utf-8", "surrogateescape") + b"\n")
            process.stdin.flush()
        except OSError:
            return Refusal.GONE
        words = process.stdout.readline(_MAX_FIELD_BYTES).split()
        if len(words) != 3 or not words[2].isdigit():
            return Refusal.GONE  # `missing`, or git has ended
        size = int(words[2])
        if size > self._max_bytes or words[1] != b"blob":
            _skip(process.stdout, size + 1)
            return Refusal.TOO_LARGE
        data = process.stdout.read(size)
        process.stdout.read(1)
        try:
            return Refusal.BINARY if b"\0" in data else data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return Refusal.BINARY


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    """What stands between NULs. A field that is too long is cut: memory stays bounded."""
    rest = b""
    while piece := stream.read(_PIECE_BYTES):
        *fields, rest = (rest + piece).split(b"\0")
        yield from fields
        rest = rest[:_MAX_FIELD_BYTES]
    if rest:
        yield rest


def _skip(stream: IO[bytes], n_bytes: int) -> None:
    while n_bytes > 0 and (piece := stream.read(min(n_bytes, _PIECE_BYTES))):
        n_bytes -= len(piece)


def _header(field: bytes) -> tuple[str, float, str] | None:
    words = field.decode("utf-8", "replace").split("\2")
    if len(words) != 3:
        return None
    try:
        return words[0], float(words[1]), words[2].strip()
    except ValueError:
        return None


def _change(words: list[bytes], path: bytes, root: str) -> FileChange | None:
    """`:MODE MODE ID ID LETTER`, the colon taken off."""
    if len(words) != 5 or not path or not _FILE_MODES.issuperset(words[:2]):
        return None
    before, after = (b"" if _NO_OBJECT.issuperset(id_) else id_ for id_ in words[2:4])
    try:
        return FileChange(f"{root}/{path.decode()}", before.decode("ascii"), after.decode("ascii"))
    except UnicodeDecodeError:
        return None
