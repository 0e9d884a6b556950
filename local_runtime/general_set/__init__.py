"""The frozen general set: holes of other people's code, on which the gate sees whether a candidate has forgotten what all code shares.

Neither a model that is judged here nor a personal adapter may learn from these packages. LICENCES.md beside the file names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from local_runtime.prompts.hole import Hole

FILE = Path(__file__).parent / "general_holes.jsonl"


@dataclass(frozen=True, slots=True)
class GeneralHole:
    """A hole of the general set, and what stood in it."""

    package: str
    licence: str
    shape: str
    hole: Hole
    middle: str


class _Line(msgspec.Struct, frozen=True):
    package: str
    licence: str
    shape: str
    path: str
    language: str
    prefix: str
    middle: str
    suffix: str


def general_holes() -> list[GeneralHole]:
    """The frozen general set, in its order."""
    decoded = [msgspec.json.decode(line, type=_Line) for line in FILE.read_bytes().splitlines()]
    return [
        GeneralHole(
            line.package,
            line.licence,
            line.shape,
            Hole(line.path, line.language, line.prefix, line.suffix),
            line.middle,
        )
        for line in decoded
    ]
