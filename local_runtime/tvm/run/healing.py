"""Token healing: the completion is made to begin with text that was taken off the prompt's end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from local_runtime.engines.vocabulary import Vocabulary


class Healing:
    """Which tokens may come while `healed` has not been said yet.

    A tokenizer would not have cut the text where the cursor stands: after `retu`, the likely token is `return`, not `rn`.
    """

    def __init__(self, vocabulary: Vocabulary, healed: str) -> None:
        self._vocabulary = vocabulary
        self._wanted = healed.encode()

    def allowed(self) -> NDArray[np.int64] | None:
        """Ids compatible with the text still to be said; None when any token may come."""
        if not self._wanted:
            return None
        ids = self._vocabulary.compatible(self._wanted)
        return ids if len(ids) else None

    def said(self, token_id: int) -> None:
        """A token was chosen."""
        self._wanted = self._wanted[len(self._vocabulary.token_bytes[token_id]) :]
