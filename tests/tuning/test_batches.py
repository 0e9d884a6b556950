"""Padded micro-batches."""

from __future__ import annotations

import random

from trainer.batches import Sample, pad_together

END = 0


def test_padding_has_no_weight_and_no_sample_is_lost() -> None:
    dice = random.Random(3)
    lengths = [dice.randint(1, 900) for _ in range(24)]
    samples = [
        Sample(tuple(dice.randint(1, 99) for _ in range(n)), tuple(dice.choice((0.0, 1.0, 4.0)) for _ in range(n)))
        for n in lengths
    ]
    batches = pad_together(samples, 4096, END)
    assert sum(int((b.weights > 0).sum()) for b in batches) == sum(w > 0 for s in samples for w in s.weights)
    assert all(b.token_ids.numel() <= 4096 or b.token_ids.shape[0] == 1 for b in batches)
    rows = [tuple(row.tolist()) for b in batches for row in b.token_ids]
    assert all(any(row[: len(s.token_ids)] == s.token_ids for row in rows) for s in samples)
