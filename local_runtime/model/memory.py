"""How much memory a model takes."""

from __future__ import annotations

from local_runtime.model.decoder_config import DecoderConfig

KV_ITEM_BYTES = 2
"""Keys and values are float16."""


def kv_bytes(config: DecoderConfig, n_tokens: int) -> int:
    """Keys and values of `n_tokens` tokens, in all layers."""
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * n_tokens * KV_ITEM_BYTES
