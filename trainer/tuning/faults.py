"""What can go wrong while an adapter is trained, said in a sentence. The old adapter serves on in every case."""

from __future__ import annotations

from local_runtime.errors import RuntimeFault


class TrainingFailed(RuntimeFault):
    """No adapter came of it: the loss was no number, the disk was full, a package is missing."""
