"""A model that some program keeps on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local_runtime.errors import ModelInvalid, RuntimeFault
from local_runtime.model.gguf.file import GgufFile, split_parts
from local_runtime.model.stores.walking import printable

LICENCE_CHARS = 100


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model, and where it lies."""

    reference: str
    """What `understudy model import` takes."""
    path: Path
    """A GGUF file, or a folder of Hugging Face's or MLC's kind."""
    stored_license: str = ""
    """What the store says of it; often nothing."""
    problem: str = ""
    """Why it cannot be opened at all."""
    revisions: tuple[str, ...] = ()
    """In a hub cache: the commit, and the branches and tags that stand for it."""

    @property
    def source(self) -> str:
        """Where it is from, for the imported model's note."""
        return self.reference

    @property
    def license_name(self) -> str:
        """What the store says of it, else the file; empty if neither does. Reads the whole header of a GGUF file."""
        if self.stored_license or self.path.is_dir():
            return self.stored_license
        try:
            return licence_in(GgufFile.open(self.path))
        except RuntimeFault:
            return ""

    @property
    def size_bytes(self) -> int:
        """Of all its files; 0 if they are not there."""
        try:
            if self.path.is_file():
                return sum(part.stat().st_size for part in split_parts(self.path))
            return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())
        except (OSError, ModelInvalid):
            return 0


def licence_in(file: GgufFile) -> str:
    """What a GGUF file says of its licence: a short name, or the name that belongs to "other"."""
    named = file.metadata.get("general.license", "")
    if named == "other":
        named = file.metadata.get("general.license.name", named)
    return printable(named[:LICENCE_CHARS]) if isinstance(named, str) else ""
