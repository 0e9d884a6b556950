"""From a DecoderConfig back to the `config.json` of a Hugging Face folder."""

from __future__ import annotations

from typing import Any

from local_runtime.model.chat_config import rope_json
from local_runtime.model.config_json import ARCHITECTURES
from local_runtime.model.decoder_config import DecoderConfig


def huggingface_config(
    config: DecoderConfig, dtype: str, *, bos_id: int = 0, eos_id: int = 0, transformers: int = 5
) -> dict[str, Any]:
    """`config.json` of a folder whose weights are `dtype`; `transformers` (4 or 5) is whose spelling it follows."""
    found: dict[str, Any] = {
        "architectures": [next(name for name, family in ARCHITECTURES.items() if family == config.family)],
        "model_type": config.family,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
    }
    if config.family == "llama":
        found |= {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}
    rope = rope_json(config.rope_scaling)
    if transformers >= 5:
        return found | {
            "dtype": dtype,
            "rope_parameters": {"rope_theta": config.rope_theta, **(rope or {"rope_type": "default"})},
        }
    return found | {"torch_dtype": dtype, "rope_theta": config.rope_theta, "rope_scaling": rope}
