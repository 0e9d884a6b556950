"""Samples as tensors: sorted by length and put into padded micro-batches, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """Ids of one sequence and the loss weight of predicting each of them (the first is never predicted)."""

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """`token_ids [B, T] int64` and `weights [B, T] float32`; padding has weight 0 and stands at the right."""

    token_ids: Tensor
    weights: Tensor
    n_tokens: int
    """Without padding."""


def pad_together(samples: Sequence[Sample], micro_tokens: int, pad_id: int, multiple: int = 1) -> list[MicroBatch]:
    """Micro-batches of at most `micro_tokens` padded tokens (a longer sample stands alone), longest first.

    No sample is padded to more than 1.5 times its length, before widths are rounded up to a multiple of `multiple`: few
    different shapes mean few compiled products and less memory held for them.
    """
    groups: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda sample: -len(sample.token_ids)):
        width = len(groups[-1][0].token_ids) if groups else 0
        if (
            width * (len(groups[-1]) + 1 if groups else 0) <= micro_tokens
            and width
            and width <= 1.5 * len(sample.token_ids)
        ):
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return [_pad(group, pad_id, multiple) for group in groups]


def _pad(samples: Sequence[Sample], pad_id: int, multiple: int) -> MicroBatch:
    width = -(-max(len(sample.token_ids) for sample in samples) // multiple) * multiple
    ids = torch.full((len(samples), width), pad_id, dtype=torch.int64)
    weights = torch.zeros(len(samples), width)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.token_ids)] = torch.tensor(sample.token_ids)
        weights[row, : len(sample.weights)] = torch.tensor(sample.weights)
    return MicroBatch(ids, weights, sum(len(sample.token_ids) for sample in samples))
