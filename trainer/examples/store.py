"""Examples in a file, one JSON document a line: a run keeps what it learns from, so that it goes on after a kill.

The file holds the user's text: it lies in a run's own 0700 folder and goes with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from local_runtime.errors import ModelInvalid, ModelMissing
from trainer.edits import Example


def write_examples(file: Path, examples: Iterable[Example]) -> None:
    """Write atomically, readable by this user alone. Raises OSError."""
    part = file.with_name(file.name + ".part")
    encoder = msgspec.json.Encoder()
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:  # noqa: PTH123 - by descriptor
        for example in examples:
            out.write(encoder.encode(example) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)


def read_examples(file: Path) -> list[Example]:
    """Raises ModelMissing without the file, ModelInvalid if it is damaged."""
    if not file.exists():
        raise ModelMissing(f"{file} is not there: the run was never begun", "understudy train")
    decoder = msgspec.json.Decoder(Example)
    try:
        return [decoder.decode(line) for line in file.read_bytes().splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise ModelInvalid(f"{file}: {problem}", f"rm {file}, then understudy train") from None
