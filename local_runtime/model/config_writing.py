"""From a DecoderConfig back to the `config.json` of a Hugging Face folder."""

from __future__ import annotations

from typing import Any

from local_runtime.model.chat_config import gpt_json, granite_json, hidden_act, rope_json
from local_runtime.model.config_json import ARCHITECTURES
from local_runtime.model.decoder_config import DecoderConfig


def huggingface_config(
    config: DecoderConfig, dtype: str, *, bos_id: int = 0, eos_id: int = 0, transformers: int = 5
) -> dict[str, Any]:
    """`config.json` of a folder whose weights are `dtype`; `transformers` (4 or 5) is whose spelling it follows."""
    found: dict[str, Any] = {
        "architectures": [next(name for name, family in ARCHITECTURES.items() if family == config.family)],
        "model_type": config.family,
        "hidden_act": hidden_act(config),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_tokens,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
    }
    if config.family == "gpt_bigcode":
        return _gpt(config, found) | {"dtype" if transformers >= 5 else "torch_dtype": dtype}
    if config.family == "starcoder2":
        found |= {"norm_epsilon": config.norm_eps, "use_bias": config.mlp_bias, "use_cache": True}
        found |= {"sliding_window": config.sliding_window or None}
    else:
        found |= {"rms_norm_eps": config.norm_eps}
    if config.family in ("llama", "granite"):
        found |= {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}
    if config.family == "qwen3":
        found |= {"attention_bias": config.qkv_bias}
    found |= granite_json(config)
    rope = rope_json(config.rope_scaling)
    if transformers >= 5:
        return found | {
            "dtype": dtype,
            "rope_parameters": {"rope_theta": config.rope_theta, **(rope or {"rope_type": "default"})},
        }
    return found | {"torch_dtype": dtype, "rope_theta": config.rope_theta, "rope_scaling": rope}


def _gpt(config: DecoderConfig, found: dict[str, Any]) -> dict[str, Any]:
    """The same in GPT-BigCode's spelling. Its dropouts are not 0 unless it is said."""
    dropouts = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    kept = ("architectures", "model_type", "vocab_size", "tie_word_embeddings", "bos_token_id", "eos_token_id")
    return {name: found[name] for name in kept} | gpt_json(config) | dropouts
