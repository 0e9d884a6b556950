"""A first look at an adapter's weights, before a model is asked: numbers that are none, and norms that can only be damage."""

from __future__ import annotations

import math

import numpy as np

from local_runtime.adapters.peft_folder import LowRank, read_low_ranks
from local_runtime.engines.protocol import Adapter


def largest_row_norm(adapter: Adapter) -> tuple[float, str]:
    """The largest root-mean-square norm of the rows that the adapter adds to a weight, and to which.

    Raises AdapterInvalid for a damaged folder, NaN and infinity.
    """
    norms = {module: row_norm(low_rank) for module, low_rank in read_low_ranks(adapter).items()}
    module = max(norms, key=lambda name: norms[name])
    return norms[module], module


def row_norm(low_rank: LowRank) -> float:
    """`|B A|_F / sqrt(rows)`, from two matrices of rank by rank: `|B A|_F^2 = trace(B^T B A A^T)`."""
    a, b = low_rank.a.astype(np.float64), low_rank.b.astype(np.float64)
    squared = float(np.sum((b.T @ b) * (a @ a.T)))
    return math.sqrt(max(squared, 0.0) / len(b))
