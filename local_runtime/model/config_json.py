"""From the `config.json` of a Hugging Face folder, or MLC's `model_config`, to a DecoderConfig.

Both spellings of transformers are read: 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`), and MLC's own
(`position_embedding_base`, `context_window_size`). What would not be served faithfully is refused with a sentence.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec

from local_runtime.errors import ModelInvalid
from local_runtime.model.decoder_config import DecoderConfig, RopeScaling

ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "MistralForCausalLM": "llama"}
"""Hugging Face's architectures and the family whose computation they are."""
MODEL_TYPES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}
"""The same for MLC's `model_type`."""
ROPE_KINDS = ("default", "linear", "llama3", "yarn")

Size = Annotated[int, msgspec.Meta(gt=0, le=1 << 22)]
Layers = Annotated[int, msgspec.Meta(gt=0, le=1 << 10)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Window = Annotated[int, msgspec.Meta(ge=-1, le=1 << 26)]


class RopeJson(msgspec.Struct, forbid_unknown_fields=True):
    """`rope_scaling` or `rope_parameters`. An option that is not known here would change the positions: refused."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Positive | None = None
    factor: Positive | None = None
    low_freq_factor: Positive | None = None
    high_freq_factor: Positive | None = None
    original_max_position_embeddings: Size | None = None
    beta_fast: Positive | None = None
    beta_slow: Positive | None = None
    attention_factor: Positive | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None
    partial_rotary_factor: float | None = None
    finetuned: bool | None = None


class ConfigJson(msgspec.Struct):
    """The fields of `config.json` and of MLC's `model_config` that decide what is computed; all others are ignored."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    vocab_size: Size
    architectures: list[str] | None = None
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: str | None = None
    rms_norm_eps: Positive = 1e-6
    tie_word_embeddings: bool | None = None
    attention_bias: bool | None = None
    mlp_bias: bool | None = None
    max_position_embeddings: Window | None = None
    context_window_size: Window | None = None
    rope_theta: Positive | None = None
    position_embedding_base: Positive | None = None
    rope_scaling: RopeJson | None = None
    rope_parameters: RopeJson | None = None
    partial_rotary_factor: float | None = None
    use_sliding_window: bool | None = None
    sliding_window: Window | None = None
    sliding_window_size: Window | None = None
    quantization_config: dict[str, msgspec.Raw] | None = None
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None


def family_of(config: ConfigJson, file: Path) -> str:
    """Which family a Hugging Face folder is of. Raises ModelInvalid for an architecture that is not known."""
    names = config.architectures or []
    for name in names:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    found = ", ".join(names)[:200] or "none"
    raise ModelInvalid(f"{file}: architecture {found} is not known; known are {', '.join(ARCHITECTURES)}")


def decoder_config(found: ConfigJson, family: str, file: Path) -> DecoderConfig:
    """The decoder that `found` describes. Raises ModelInvalid, naming `file`, for what cannot be served faithfully."""
    _refuse(
        (found.quantization_config is not None, "its weights are quantised already; expected a float model"),
        (found.hidden_act not in (None, "silu", "swish"), f"activation {found.hidden_act!r}; expected silu"),
        (found.partial_rotary_factor not in (None, 1.0), "rotary positions on a part of each head are not served"),
        file=file,
    )
    n_heads, n_kv_heads = found.num_attention_heads, found.num_key_value_heads or found.num_attention_heads
    head_dim = found.head_dim or found.hidden_size // n_heads
    _refuse(
        (n_heads % n_kv_heads != 0, f"{n_heads} heads are not a multiple of {n_kv_heads} key-value heads"),
        (not found.head_dim and found.hidden_size % n_heads != 0, f"{n_heads} heads do not divide {found.hidden_size}"),
        (head_dim % 2 != 0, f"head_dim {head_dim}; expected an even number"),
        (n_heads * head_dim > 1 << 22, f"{n_heads} heads of {head_dim} are too many"),
        file=file,
    )
    is_qwen2 = family == "qwen2"
    bias = bool(found.attention_bias)
    context_tokens = _context_tokens(found, is_qwen2, file)
    theta, scaling = _rope(found, context_tokens, file)
    return DecoderConfig(
        family=family,
        hidden_size=found.hidden_size,
        intermediate_size=found.intermediate_size,
        n_layers=found.num_hidden_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab_size=found.vocab_size,
        context_tokens=context_tokens,
        norm_eps=found.rms_norm_eps,
        rope_theta=theta,
        rope_scaling=scaling,
        tied_embeddings=bool(found.tie_word_embeddings),
        # Qwen2 always has biases on q, k and v alone, and no field that says so.
        qkv_bias=is_qwen2 or bias,
        o_bias=bias and not is_qwen2,
        mlp_bias=bool(found.mlp_bias) and not is_qwen2,
    )


def token_ids(ids: int | list[int] | None, vocab_size: int) -> tuple[int, ...]:
    """The ids of a `*_token_id` field that lie in the vocabulary."""
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    return tuple(token_id for token_id in listed if 0 <= token_id < vocab_size)


def _context_tokens(found: ConfigJson, is_qwen2: bool, file: Path) -> int:
    """The longest context. Up to a sliding window's length attention is full attention: the context ends there."""
    # Qwen2 names a window always, and switches it on apart.
    window = found.sliding_window if found.use_sliding_window or not is_qwen2 else None
    limits = [found.context_window_size, found.max_position_embeddings, window, found.sliding_window_size]
    known = [limit for limit in limits if limit is not None and limit > 0]
    if not known:
        raise ModelInvalid(f"{file}: expected `max_position_embeddings`, found no length of the context")
    return min(known)


def _rope(found: ConfigJson, context_tokens: int, file: Path) -> tuple[float, RopeScaling]:
    """Theta and scaling. Formulas and defaults follow transformers' `modeling_rope_utils`."""
    rope = found.rope_parameters or found.rope_scaling or RopeJson()
    theta = rope.rope_theta or found.rope_theta or found.position_embedding_base or 10000.0
    kind = rope.rope_type or rope.type or "default"
    original = rope.original_max_position_embeddings or found.max_position_embeddings or context_tokens
    known = ", ".join(ROPE_KINDS)
    _refuse(
        (kind not in ROPE_KINDS, f"rope scaling {kind[:40]!r} is not served; known are {known}"),
        (rope.partial_rotary_factor not in (None, 1.0), "rotary positions on a part of each head are not served"),
        (rope.truncate is False, "yarn without truncation is not served"),
        (kind in ("linear", "llama3") and rope.factor is None, f"rope scaling {kind} has no factor"),
        (
            kind == "llama3" and not (rope.low_freq_factor or 0.0) < (rope.high_freq_factor or 0.0),
            "rope scaling llama3 needs low_freq_factor < high_freq_factor",
        ),
        file=file,
    )
    factor = rope.factor or (found.max_position_embeddings or context_tokens) / original
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    if kind == "llama3":
        low, high = rope.low_freq_factor or 0.0, rope.high_freq_factor or 0.0
        return theta, RopeScaling("llama3", factor, low, high, original)
    if kind == "yarn":
        return theta, RopeScaling(
            "yarn",
            factor,
            original_context_tokens=original,
            beta_fast=rope.beta_fast or 32.0,
            beta_slow=rope.beta_slow or 1.0,
            attention_factor=rope.attention_factor or _yarn_attention_factor(factor, rope),
        )
    return theta, RopeScaling()


def _yarn_attention_factor(factor: float, rope: RopeJson) -> float:
    def magnitude(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if rope.mscale and rope.mscale_all_dim:
        return magnitude(rope.mscale) / magnitude(rope.mscale_all_dim)
    return magnitude(1.0)


def _refuse(*rules: tuple[bool, str], file: Path) -> None:
    for broken, sentence in rules:
        if broken:
            raise ModelInvalid(f"{file}: {sentence}")
