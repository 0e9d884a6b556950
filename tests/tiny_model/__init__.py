"""A model of 3.5M parameters, for tests and benchmarks: everything about it is real except what it knows. MODEL.md is its card.

`tests/` must be on `sys.path`: pytest puts it there, a benchmark does so itself.
"""

from __future__ import annotations

from pathlib import Path

NAME = "understudy-tiny"
"""Under this name it is imported. It begins as those names do that serve only if config.toml gives them: a benchmark imports it into
its user's own home."""
FOLDER = Path(__file__).parent
"""A Hugging Face folder."""


def ensure_imported() -> str:
    """The registered name, imported now (a second or two) if it is not yet."""
    from local_runtime.model import importing, registry  # noqa: PLC0415 - `FOLDER` alone needs no numpy
    from local_runtime.model.quantization import QUANTIZATIONS  # noqa: PLC0415

    if NAME not in registry.names():
        importing.import_model(FOLDER, QUANTIZATIONS["q8f16_g32"], NAME, source="tests", license_name="Apache-2.0")
    return NAME


def choose() -> str:
    """Have it answer in this UNDERSTUDY_HOME: imported, and named in config.toml."""
    from local_runtime.model.chosen import choose as choose_model  # noqa: PLC0415

    choose_model(ensure_imported())
    return NAME
