"""What an engine drives: the forwards of one compiled decoder, and its KV cache. On a CPU by our kernels, on a GPU by TVM's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local_runtime.tvm.run.pages import KvPages, PageTable

MAX_ROWS = 128
"""Tokens of one forward at most."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """What one forward says about the tokens after each of its rows."""

    logits: Floats
    """`[n, vocab_size]`."""
    greedy: NDArray[np.int32]
    """`[n]`: the most likely token, the first of equals."""
    normalizer: Floats
    """`[n]`: a token's log-probability is its logit minus this."""

    def logprob(self, row: int, token_id: int) -> float:
        """Natural-log probability of a token under the unscaled distribution."""
        return min(float(self.logits[row, token_id] - self.normalizer[row]), 0.0)


class Decoder(ABC):
    """A decoder in this process. Everything is called from one thread."""

    forwards: int
    """How many have run."""
    pages: KvPages
    """Where keys and values are kept."""

    def prefill(self, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Up to MAX_ROWS rows, of which the last one's logits are computed."""
        return self._call("prefill" if len(token_ids) > 1 else "decode", table, token_ids, parameters, strength)

    def verify(self, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Up to MAX_ROWS rows, with the logits of all."""
        return self._call("verify" if len(token_ids) > 1 else "decode", table, token_ids, parameters, strength)

    @abstractmethod
    def close(self) -> None:
        """Give back the KV cache."""

    @abstractmethod
    def _call(self, name: str, table: PageTable, token_ids: Sequence[int], parameters: Any, strength: float) -> Rows:
        """Run the library's function of that name, or what it is called with an adapter."""
