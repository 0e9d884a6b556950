"""Reads JSON that somebody else wrote: bounded in size, checked against types, every failure a fault with the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from local_runtime.errors import ModelInvalid
from local_runtime.model.plain_file import open_plain

CONFIG_BYTES = 4 << 20
"""More than any configuration has."""

T = TypeVar("T")


def read_json(file: Path, kind: type[T], *, limit_bytes: int = CONFIG_BYTES) -> T:
    """The content of `file` as a `kind`. Raises ModelMissing if there is none, ModelInvalid if it is not such a thing."""
    return decode_json(read_bytes(file, limit_bytes=limit_bytes), kind, file)


def decode_json(content: bytes, kind: type[T], file: Path) -> T:
    """`content`, which comes from `file`, as a `kind`. Raises ModelInvalid if it is not such a thing."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise ModelInvalid(f"{file}: {problem}", "fetch this file again from where the model came from") from None


def read_bytes(file: Path, *, limit_bytes: int) -> bytes:
    """The whole of a plain file of at most `limit_bytes`."""
    with open_plain(file) as opened:
        try:
            content = opened.read(limit_bytes + 1)
        except OSError as problem:
            raise ModelInvalid(f"{file} cannot be read: {problem.strerror}") from None
    if len(content) > limit_bytes:
        raise ModelInvalid(f"{file}: expected at most {limit_bytes:,} bytes")
    return content
