"""`mlc-chat-config.json`: what mlc_llm reads of a model folder, written and read. Fields: mlc_llm's `mlc_chat_config.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from local_runtime.errors import ModelInvalid
from local_runtime.model.config_json import MODEL_TYPES, ConfigJson, RopeJson, decoder_config
from local_runtime.model.decoder_config import Activation, DecoderConfig, RopeScaling
from local_runtime.model.json_file import read_json
from local_runtime.model.quantization import QUANTIZATIONS, Quantization
from local_runtime.model.registry import FILE_NAME

TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "tokenizer_config.json",
)
"""What mlc_llm copies, in its order."""


MLC_ACTIVATIONS = dict.fromkeys(("llama", "granite", "qwen2", "qwen3"), Activation.SWIGLU) | {
    "starcoder2": Activation.GELU_TANH,
    "gpt_bigcode": Activation.GELU,
}
"""What mlc_llm computes in the MLPs of a family, whatever the configuration says."""


class ChatConfig(msgspec.Struct):
    """The fields of `mlc-chat-config.json` that decide what is computed."""

    model_type: str
    quantization: str
    model_config: ConfigJson
    context_window_size: int | None = None
    sliding_window_size: int | None = None
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None


def read_chat_config(folder: Path) -> tuple[ChatConfig, DecoderConfig, Quantization]:
    """What a folder says it holds. Raises ModelMissing, or ModelInvalid for what is not known or not served."""
    file = folder / FILE_NAME
    found = read_json(file, ChatConfig)
    if found.model_type not in MODEL_TYPES:
        known = ", ".join(MODEL_TYPES)
        raise ModelInvalid(f"{file}: model_type {found.model_type[:40]!r} is not known; known are {known}")
    if found.quantization not in QUANTIZATIONS:
        known = ", ".join(QUANTIZATIONS)
        raise ModelInvalid(f"{file}: quantization {found.quantization[:40]!r} is not known; known are {known}")
    config = found.model_config
    if config.context_window_size is None:
        config.context_window_size = found.context_window_size
    return found, decoder_config(config, MODEL_TYPES[found.model_type], file), QUANTIZATIONS[found.quantization]


def chat_config(
    config: DecoderConfig,
    quantization: Quantization,
    *,
    tokenizer: dict[str, Any],
    tokenizer_files: list[str],
    active_vocab_size: int,
    bos_ids: tuple[int, ...],
    eos_ids: tuple[int, ...],
) -> dict[str, Any]:
    """The content of `mlc-chat-config.json`. `tokenizer` is the content of `tokenizer.json`."""
    prefill_chunk_size = min(config.context_tokens, 2048)
    return {
        "version": "0.1.0",
        "model_type": config.family,
        "quantization": quantization.name,
        "model_config": _model_config(config, prefill_chunk_size),
        "vocab_size": config.vocab_size,
        "context_window_size": config.context_tokens,
        "sliding_window_size": -1,
        "prefill_chunk_size": prefill_chunk_size,
        "attention_sink_size": -1,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "active_vocab_size": active_vocab_size,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "top_p": 1.0,
        "tokenizer_files": tokenizer_files,
        "tokenizer_info": tokenizer_info(tokenizer),
        "conv_template": {
            "name": "LM",
            "system_template": "{system_message}",
            "system_message": "",
            "add_role_after_system_message": True,
            "roles": {"user": "", "assistant": ""},
            "role_templates": {"user": "{user_message}", "assistant": "{assistant_message}", "tool": "{tool_message}"},
            "messages": [],
            "seps": [""],
            "role_content_sep": "",
            "role_empty_sep": "",
            "stop_str": [],
            "stop_token_ids": list(eos_ids),
            "function_string": "",
            "use_function_calling": False,
        },
        "pad_token_id": 0,
        "bos_token_id": bos_ids[0] if bos_ids else None,
        "eos_token_id": list(eos_ids),
    }


def why_mlc_cannot_serve(config: DecoderConfig, quantization: Quantization) -> list[str]:
    """What keeps mlc_llm from serving a folder (its `*_model.py` of the family); empty if nothing does."""
    heads_size, kind = config.n_heads * config.head_dim, config.rope_scaling.kind
    served_kinds = ("default", "llama3") if config.family == "llama" else ("default",)
    is_llama = config.family == "llama"
    reasons = {
        "it has no definition of Granite": config.family == "granite",
        f"a sliding window of {config.sliding_window} tokens": config.sliding_window > 0,
        "a head tied to the embedding is expected": config.family == "starcoder2" and not config.tied_embeddings,
        f"activation {config.activation.value}": config.activation is not MLC_ACTIVATIONS[config.family],
        f"quantization {quantization.name} is ours alone": not quantization.mlc_can_serve,
        "biases in attention": is_llama and (config.qkv_bias or config.o_bias),
        "biases in the MLP": config.mlp_bias and not config.layer_norm,
        f"rope scaling {kind}": kind not in served_kinds,
        f"{config.n_heads} heads do not divide {config.hidden_size}": config.hidden_size % config.n_heads != 0,
        f"heads of {heads_size} together, hidden size {config.hidden_size}": config.family not in ("llama", "qwen3")
        and heads_size != config.hidden_size,
    }
    return [reason for reason, holds in reasons.items() if holds]


def tokenizer_info(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """What mlc_llm's `DetectTokenizerInfo` finds in a `tokenizer.json`."""
    decoders, normalizers = (
        _steps(tokenizer.get("decoder"), "decoders"),
        _steps(tokenizer.get("normalizer"), "normalizers"),
    )
    kinds = [step.get("type") for step in decoders if step.get("type") in ("ByteLevel", "ByteFallback")]
    return {
        "token_postproc_method": "byte_level" if kinds[-1:] == ["ByteLevel"] else "byte_fallback",
        "prepend_space_in_encode": any(
            step.get("type") == "Prepend" and step.get("prepend") == "\u2581" for step in normalizers
        ),
        "strip_space_in_decode": {"type": "Strip", "content": " ", "start": 1, "stop": 0} in decoders,
    }


def _steps(stage: Any, plural: str) -> list[dict[str, Any]]:
    """The steps of a tokenizer's stage, which is one step, a sequence of them, or nothing."""
    if not isinstance(stage, dict):
        return []
    steps = stage.get(plural) if stage.get("type") == "Sequence" else [stage]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _model_config(config: DecoderConfig, prefill_chunk_size: int) -> dict[str, Any]:
    """The family's configuration in MLC; what MLC's lack (`rope_scaling` of Qwen2, biases of Llama) it ignores."""
    run = {
        "context_window_size": config.context_tokens,
        "prefill_chunk_size": prefill_chunk_size,
        "tensor_parallel_shards": 1,
        "max_batch_size": 128,
    }
    if config.family == "gpt_bigcode":
        return gpt_json(config) | run | {"vocab_size": config.vocab_size, "tie_word_embeddings": config.tied_embeddings}
    shared = run | {
        "hidden_act": hidden_act(config),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied_embeddings,
        "rope_scaling": rope_json(config.rope_scaling),
    }
    if config.family == "starcoder2":
        return shared | {
            "rope_theta": config.rope_theta,
            "norm_epsilon": config.norm_eps,
            "use_bias": config.mlp_bias,
            "use_cache": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "sliding_window": config.sliding_window or None,
        }
    if config.family in ("qwen2", "qwen3"):
        bias = {"attention_bias": config.qkv_bias} if config.family == "qwen3" else {}
        return shared | {"rope_theta": config.rope_theta, "dtype": "float32"} | bias
    return (
        shared
        | {
            "position_embedding_base": config.rope_theta,
            "pipeline_parallel_stages": 1,
            "disaggregation": False,
            "attention_bias": config.qkv_bias,
            "mlp_bias": config.mlp_bias,
        }
        | granite_json(config)
    )


def gpt_json(config: DecoderConfig) -> dict[str, Any]:
    """A shape as GPT-BigCode spells it."""
    return {
        "n_embd": config.hidden_size,
        "n_inner": config.intermediate_size,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_positions": config.learned_positions,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": hidden_act(config),
        "multi_query": True,
    }


def granite_json(config: DecoderConfig) -> dict[str, Any]:
    """Granite's multipliers; nothing for other families."""
    if config.family != "granite":
        return {}
    return {
        "embedding_multiplier": config.embedding_multiplier,
        "residual_multiplier": config.residual_multiplier,
        "attention_multiplier": config.attention_multiplier,
        "logits_scaling": config.logits_divisor,
    }


def hidden_act(config: DecoderConfig) -> str:
    """transformers' name of the activation."""
    return {Activation.SWIGLU: "silu", Activation.GELU: "gelu", Activation.GELU_TANH: "gelu_pytorch_tanh"}[
        config.activation
    ]


def rope_json(scaling: RopeScaling) -> dict[str, Any] | None:
    """Hugging Face's `rope_scaling` for a scaling; None without one."""
    if scaling.kind == "default":
        return None
    rope = RopeJson(rope_type=scaling.kind, factor=scaling.factor)
    if scaling.kind in ("llama3", "yarn"):
        rope.original_max_position_embeddings = scaling.original_context_tokens
    if scaling.kind == "llama3":
        rope.low_freq_factor, rope.high_freq_factor = scaling.low_freq_factor, scaling.high_freq_factor
    if scaling.kind == "yarn":
        rope.beta_fast, rope.beta_slow = scaling.beta_fast, scaling.beta_slow
        rope.attention_factor = scaling.attention_factor or None
    return {key: value for key, value in msgspec.to_builtins(rope).items() if value is not None}
