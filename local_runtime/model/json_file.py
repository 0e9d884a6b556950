"""Reads JSON that somebody else wrote: bounded in size, checked against types, every failure a fault with the file's name."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from local_runtime.errors import ModelInvalid, ModelMissing

CONFIG_BYTES = 4 << 20
"""More than any configuration has."""

T = TypeVar("T")


def read_json(file: Path, kind: type[T], *, limit_bytes: int = CONFIG_BYTES) -> T:
    """The content of `file` as a `kind`. Raises ModelMissing if there is none, ModelInvalid if it is not such a thing."""
    try:
        return msgspec.json.decode(read_bytes(file, limit_bytes=limit_bytes), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise ModelInvalid(f"{file}: {problem}", "fetch this file again from where the model came from") from None


def read_bytes(file: Path, *, limit_bytes: int) -> bytes:
    """The whole of a plain file of at most `limit_bytes`."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ModelInvalid(f"{file}: expected a plain file")
            content = opened.read(limit_bytes + 1)
    except FileNotFoundError:
        raise ModelMissing(f"{file} is not there") from None
    except OSError as problem:
        raise ModelInvalid(f"{file} cannot be read: {problem.strerror}") from None
    if len(content) > limit_bytes:
        raise ModelInvalid(f"{file}: expected at most {limit_bytes:,} bytes")
    return content
