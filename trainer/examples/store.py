"""Examples in a file, one JSON document a line: a run keeps what it learns from, so that it goes on after a kill.

The file holds the user's text: it lies in a run's own 0700 folder and goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from local_runtime.durable_file import write_durably
from local_runtime.errors import ModelInvalid, ModelMissing
from trainer.edits import Example


def write_examples(file: Path, examples: Iterable[Example]) -> None:
    """Write durably, readable by this user alone. Raises OSError."""
    encoder = msgspec.json.Encoder()
    write_durably(file, b"".join(encoder.encode(example) + b"\n" for example in examples))


def read_examples(file: Path) -> list[Example]:
    """Raises ModelMissing without the file, ModelInvalid if it is damaged."""
    if not file.exists():
        raise ModelMissing(f"{file} is not there: the run was never begun", "understudy train")
    decoder = msgspec.json.Decoder(Example)
    try:
        return [decoder.decode(line) for line in file.read_bytes().splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise ModelInvalid(f"{file}: {problem}", f"rm {file}, then understudy train") from None
