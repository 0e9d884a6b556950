"""What an engine drives: the forwards of one compiled decoder, and its KV cache. On a CPU by our kernels, on a GPU by TVM's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from local_runtime.compiled.pages import KvPages, PageTable
from local_runtime.compiled.runtime import Rows


class Decoder(Protocol):
    """A decoder in this process. Everything is called from one thread."""

    forwards: int
    """How many have run."""

    @property
    def pages(self) -> KvPages:
        """Where keys and values are kept."""
        ...

    def prefill(self, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Up to `runtime.MAX_ROWS` rows, of which the last one's logits are computed."""
        ...

    def verify(self, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Up to `runtime.MAX_ROWS` rows, with the logits of all."""
        ...

    def close(self) -> None:
        """Give back the KV cache."""
        ...
