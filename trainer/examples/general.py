"""Replay of other people's code, against forgetting: holes of this interpreter's own standard library.

Every machine that trains has it, it is permissively licensed, and it shares no file with the frozen general set that the gate
judges on (`local_runtime.general_set`, other packages).
"""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

from local_runtime.prompts.hole import Hole
from trainer.edits import Example, Kind
from trainer.examples.hunks import MIN_MIDDLE_CHARS
from trainer.examples.identity import draws
from trainer.spans import Shape, draw_span

_FOLDERS = (
    "", "asyncio", "collections", "concurrent/futures", "email", "html", "http", "importlib", "json", "logging",
    "multiprocessing", "sqlite3", "unittest", "urllib", "wsgiref", "xml/dom", "xml/etree",
)  # fmt: skip
_MAX_BYTES = 120_000
_MIN_CHARS = 512


def general_examples(n: int, seed: int) -> list[Example]:
    """`n` holes, the same for the same seed and the same Python. Example `i` does not depend on `n`."""
    files = library_files()
    found: list[Example] = []
    number = 0
    while files and len(found) < n and number < 4 * n + 16:
        rng = draws("general", seed, number)
        number += 1
        file = rng.choice(files)
        text = file.read_text(encoding="utf-8", errors="replace")
        if len(text) < _MIN_CHARS:
            continue
        span = draw_span(text, rng)
        middle = text[span.start : span.end]
        if len(middle.strip()) < MIN_MIDDLE_CHARS and span.shape is not Shape.EMPTY:
            continue
        path = file.relative_to(_library()).as_posix()
        hole = Hole(path, "python", text[: span.start], text[span.end :])
        found.append(Example(hole, middle, 0.0, kind=Kind.GENERAL))
    return found


@cache
def library_files() -> tuple[Path, ...]:
    """The source files of the standard library that are read, in the order of their names."""
    listed = (file for folder in _FOLDERS for file in sorted((_library() / folder).glob("*.py")))
    return tuple(file for file in listed if file.stat().st_size <= _MAX_BYTES)


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])
