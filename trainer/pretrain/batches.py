"""The micro-batches of each step of pre-training, as a data set that prefetching processes can share."""

from __future__ import annotations

from torch.utils.data import Dataset

from trainer.batches import MicroBatch, pad_together
from trainer.pretrain.samples import SampleMaker


class StepBatches(Dataset[list[MicroBatch]]):
    """Item `step` holds the samples `step * n` to `(step + 1) * n - 1`."""

    def __init__(self, maker: SampleMaker, samples_per_step: int, micro_tokens: int) -> None:
        self._maker, self._n, self._micro_tokens = maker, samples_per_step, micro_tokens

    def __getitem__(self, step: int) -> list[MicroBatch]:
        samples = [self._maker.sample(step * self._n + i) for i in range(self._n)]
        return pad_together(samples, self._micro_tokens, self._maker.fim.end_id)
