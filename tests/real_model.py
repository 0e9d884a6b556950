"""Qwen2.5-Coder 0.5B, as its user gets it: fetched once, by name, into a folder that outlives this checkout.

`UNDERSTUDY_TEST_CACHE` names another folder. Where no source answers, the tests that need it are skipped, with what was tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import platformdirs
import pytest

NAME = "qwen2.5-coder-0.5b"
CACHE = Path(os.environ.get("UNDERSTUDY_TEST_CACHE") or platformdirs.user_cache_path("understudy-tests"))
FETCH = f"""
from local_runtime.model import catalogue, fetching
print(fetching.fetch(catalogue.find({NAME!r}), lambda done, total: None).path)
"""
FETCH_SECONDS = 1200


@cache
def gguf() -> Path:
    """The file, as the catalogue has it."""
    command = [sys.executable, "-P", "-c", FETCH]
    environment = os.environ | {"UNDERSTUDY_HOME": str(CACHE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"{NAME} cannot be fetched: {(done.stderr.strip() or 'it failed').splitlines()[-1]}")
    return Path(done.stdout.strip())


def choose(quantization: str = "q8f16_g32") -> str:
    """Have it answer in this UNDERSTUDY_HOME: imported now, a few seconds, and named in config.toml."""
    from local_runtime.model import importing  # noqa: PLC0415 - needs numpy
    from local_runtime.model.chosen import choose as choose_model  # noqa: PLC0415
    from local_runtime.model.quantization import QUANTIZATIONS  # noqa: PLC0415

    name = f"{NAME}-{quantization}"
    importing.import_model(gguf(), QUANTIZATIONS[quantization], name, source="tests", license_name="Apache-2.0")
    choose_model(name)
    return name


NOTES = '''\
"""Notes: small texts in a folder, one file each."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Note:
    title: str
    body: str


class Notebook:
    def __init__(self, folder: Path):
        self.folder = folder
        self.notes: list[Note] = []

    def add(self, note: Note) -> None:
        self.notes.append(note)

    def find(self, title: str) -> Note | None:
        for note in self.notes:
            if note.title == title:
                '''
"""A file as it is being typed, the cursor at its end."""
RIGHT = "return note"
"""What belongs there."""
