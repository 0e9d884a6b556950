"""What an importer reads: the weights of a model, whatever kind of file they are in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from local_runtime.model.gguf.blocks import Grouped
from local_runtime.model.layout import Fused


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a fused tensor."""

    where: slice
    values: np.ndarray[Any, np.dtype[Any]] | Grouped
    """Floats, or integers in groups that may be kept as they are."""
    raw: memoryview
    """The bytes that identify them: as they are stored."""

    @property
    def n_weights(self) -> int:
        """How many numbers they are."""
        return self.values.values.size if isinstance(self.values, Grouped) else self.values.size


class Weights(Protocol):
    """The tensors of a decoder, checked against it."""

    size_bytes: int
    """Of all `Rows.raw` together."""

    def blocks(self, fused: Fused) -> Iterator[Rows]:
        """All rows of a fused tensor, block by block, in order. Raises ModelInvalid."""

    def digest_of(self, fused: Fused) -> hashlib._Hash:
        """A running hash that begins with what identifies a fused tensor; the caller adds `Rows.raw`."""
