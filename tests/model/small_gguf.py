"""One small GGUF file, where a test needs any: Qwen2's shape, random weights in Q8_0, a vocabulary that fills in the middle."""

from __future__ import annotations

from pathlib import Path

import gguf_files
from gguf_files import SENTINELS

from local_runtime.model.decoder_config import DecoderConfig

SMALL_QWEN = DecoderConfig(
    "qwen2", 64, 96, 2, 4, 2, 16, 257 + len(SENTINELS), 512, rope_theta=1e6, tied_embeddings=True, qkv_bias=True
)


def write_gguf(path: Path, config: DecoderConfig = SMALL_QWEN, seed: int = 0) -> Path:
    """A model of random weights."""
    gguf_files.write_gguf(path, config, gguf_files.all_linears("Q8_0"), seed=seed)
    return path
