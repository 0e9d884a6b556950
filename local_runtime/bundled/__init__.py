"""The model that ships with the project, so that a fresh machine has completions; and the general set it is judged on.

The folder is a Hugging Face one. It is imported (quantised, registered) like any other model, at first use. MODEL.md beside
the weights says what it was made from and what it can do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from local_runtime.hole import Hole

PREFIX = "understudy-"
NAME = f"{PREFIX}3m-2"
"""Under this name it is registered; it changes with the weights' shape or generation, so that an upgrade brings the new one.

Names that begin with `PREFIX` are those of bundled models, past and present.
"""
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class GeneralHole:
    """A hole of the general set: of a package that neither the model nor a personal adapter may ever learn from."""

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


def ensure_imported() -> str:
    """The registered name of the bundled model, imported now (a second or two) if it is not yet.

    Raises what importing raises: BadRequest while another process imports, BuildFailed when the disk is full.
    """
    # The importer brings numpy and the weight formats, which those who only read the holes do not need.
    from local_runtime.model import importing, registry  # noqa: PLC0415
    from local_runtime.model.quantization import QUANTIZATIONS  # noqa: PLC0415

    if NAME not in registry.names():
        importing.import_model(FOLDER, QUANTIZATIONS["q8f16_g32"], NAME, source="bundled", license_name="Apache-2.0")
    return NAME


def general_holes() -> list[GeneralHole]:
    """The frozen general set, in its order."""
    lines = (FOLDER / "general_holes.jsonl").read_bytes().splitlines()
    decoded = [msgspec.json.decode(line, type=_Line) for line in lines]
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
