"""How sure a difference is: the paired bootstrap (Efron 1979), resampling whole hunks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def chance_below(
    differences: Sequence[float], sizes: Sequence[float], units: Sequence[Hashable], resamples: int, seed: int = 0
) -> float:
    """The share of resamples in which `sum(differences) / sum(sizes)` is below 0.

    `differences` are one contender's figures minus another's at the same places; places of one unit (a hunk) are drawn
    together. 0 when nothing differs. NaN counts as not below.
    """
    by_unit: dict[Hashable, int] = {unit: n for n, unit in enumerate(dict.fromkeys(units))}
    sums = np.zeros((len(by_unit), 2))
    for unit, difference, size in zip(units, differences, sizes, strict=True):
        sums[by_unit[unit]] += difference, size
    if not len(sums):
        return 0.0
    drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), resamples) @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[Any] = drawn[:, 0] / drawn[:, 1]
    return float((means < 0).mean())
