"""From the `config.json` of a Hugging Face folder, or MLC's `model_config`, to a DecoderConfig.

Both spellings of transformers are read: 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`), MLC's own
(`position_embedding_base`, `context_window_size`), and GPT's (`n_embd`). What would not be served faithfully is refused
with a sentence.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec

from local_runtime.errors import ModelInvalid
from local_runtime.model.decoder_config import Activation, DecoderConfig, RopeScaling

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "MistralForCausalLM": "llama",
    "Qwen3ForCausalLM": "qwen3",
    "GraniteForCausalLM": "granite",
    "Starcoder2ForCausalLM": "starcoder2",
    "GPTBigCodeForCausalLM": "gpt_bigcode",
}
"""Hugging Face's architectures and the family whose computation they are."""
MODEL_TYPES = {family: family for family in ARCHITECTURES.values()} | {"mistral": "llama"}
"""The same for MLC's `model_type`."""
LAYER_NORMED = ("starcoder2", "gpt_bigcode")
"""Families with LayerNorm, an MLP without a gate, and, unless they say otherwise, a head tied to the embedding."""
SWITCHED_WINDOW = ("qwen2", "qwen3")
"""Families that name a sliding window always, and switch it on apart."""
GELUS = {
    "gelu": Activation.GELU,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
}
"""transformers' activations of MLPs without a gate."""
GPT_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "hidden_act": "activation_function",
    "intermediate_size": "n_inner",
}
"""What GPT-BigCode calls them."""
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

    vocab_size: Size
    # 0 until `__post_init__` has looked at the other spelling
    hidden_size: Size = 0
    intermediate_size: Size = 0
    num_hidden_layers: Layers = 0
    num_attention_heads: Size = 0
    n_embd: Size | None = None
    n_inner: Size | None = None
    n_layer: Layers | None = None
    n_head: Size | None = None
    n_positions: Size | None = None
    architectures: list[str] | None = None
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: str | None = None
    activation_function: str | None = None
    rms_norm_eps: Positive = 1e-6
    norm_epsilon: Positive = 1e-5
    layer_norm_epsilon: Positive = 1e-5
    tie_word_embeddings: bool | None = None
    attention_bias: bool | None = None
    mlp_bias: bool | None = None
    use_bias: bool | None = None
    multi_query: bool | None = None
    scale_attn_weights: bool | None = None
    add_cross_attention: bool | None = None
    embedding_multiplier: Positive | None = None
    residual_multiplier: Positive | None = None
    attention_multiplier: Positive | None = None
    logits_scaling: Positive | None = None
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

    def __post_init__(self) -> None:
        """Take what is spelt as GPT's from there."""
        if self.n_embd and not self.n_inner:
            self.n_inner = 4 * self.n_embd
        for name, other in GPT_NAMES.items():
            if not getattr(self, name):
                setattr(self, name, getattr(self, other))
            if not getattr(self, name) and name not in ("max_position_embeddings", "hidden_act"):
                raise ValueError(f"Object missing required field `{name}`")


def family_of(config: ConfigJson, file: Path) -> str:
    """Which family a Hugging Face folder is of. Raises ModelInvalid for an architecture that is not known."""
    names = config.architectures or []
    for name in names:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    found = ", ".join(names)[:200] or "none"
    if "moe" in found.lower() or "mixtral" in found.lower():
        raise ModelInvalid(f"{file}: architecture {found} is a mixture of experts, which is not served")
    raise ModelInvalid(f"{file}: architecture {found} is not known; known are {', '.join(ARCHITECTURES)}")


def decoder_config(found: ConfigJson, family: str, file: Path) -> DecoderConfig:
    """The decoder that `found` describes. Raises ModelInvalid, naming `file`, for what cannot be served faithfully."""
    layer_norm, is_bigcode = family in LAYER_NORMED, family == "gpt_bigcode"
    activations = GELUS if layer_norm else dict.fromkeys(("silu", "swish"), Activation.SWIGLU)
    activation = found.hidden_act or ("gelu_pytorch_tanh" if layer_norm else "silu")
    _refuse(
        (found.quantization_config is not None, "its weights are quantised already; expected a float model"),
        (activation not in activations, f"activation {activation[:40]!r}; expected {' or '.join(activations)}"),
        (found.partial_rotary_factor not in (None, 1.0), "rotary positions on a part of each head are not served"),
        (is_bigcode and found.multi_query is False, "GPT-BigCode without multi-query attention is not served"),
        (is_bigcode and found.scale_attn_weights is False, "attention without scaling is not served"),
        (is_bigcode and bool(found.add_cross_attention), "cross-attention is not served"),
        file=file,
    )
    n_heads = found.num_attention_heads
    n_kv_heads = 1 if is_bigcode else found.num_key_value_heads or n_heads
    head_dim = (None if is_bigcode else found.head_dim) or found.hidden_size // n_heads
    _refuse(
        (n_heads % n_kv_heads != 0, f"{n_heads} heads are not a multiple of {n_kv_heads} key-value heads"),
        (
            head_dim != found.head_dim and found.hidden_size % n_heads != 0,
            f"{n_heads} heads do not divide {found.hidden_size}",
        ),
        (head_dim % 2 != 0, f"head_dim {head_dim}; expected an even number"),
        (n_heads * head_dim > 1 << 22, f"{n_heads} heads of {head_dim} are too many"),
        file=file,
    )
    qkv_bias, o_bias, mlp_bias = _biases(found, family)
    context_tokens = _context_tokens(found, family, file)
    learned_positions = (found.max_position_embeddings or 0) if is_bigcode else 0
    _refuse((is_bigcode and context_tokens > learned_positions, f"expected `n_positions` {context_tokens}"), file=file)
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
        norm_eps={"starcoder2": found.norm_epsilon, "gpt_bigcode": found.layer_norm_epsilon}.get(
            family, found.rms_norm_eps
        ),
        rope_theta=theta,
        rope_scaling=scaling,
        tied_embeddings=layer_norm if found.tie_word_embeddings is None else found.tie_word_embeddings,
        qkv_bias=qkv_bias,
        o_bias=o_bias,
        mlp_bias=mlp_bias,
        layer_norm=layer_norm,
        qk_norm=family == "qwen3",
        activation=activations[activation],
        learned_positions=learned_positions,
        sliding_window=_sliding_window(found, family, context_tokens),
        **_multipliers(found, family),
    )


def token_ids(ids: int | list[int] | None, vocab_size: int) -> tuple[int, ...]:
    """The ids of a `*_token_id` field that lie in the vocabulary."""
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    return tuple(token_id for token_id in listed if 0 <= token_id < vocab_size)


def _biases(found: ConfigJson, family: str) -> tuple[bool, bool, bool]:
    """Whether q, k, v have biases, and attention's output, and the MLP."""
    if family == "qwen2":  # always on q, k and v alone, and no field that says so
        return True, False, False
    if family == "gpt_bigcode":
        return True, True, True
    if family == "starcoder2":
        bias = found.use_bias is not False
        return bias, bias, bias
    bias = bool(found.attention_bias)
    return bias, bias, bool(found.mlp_bias) and family != "qwen3"


def _multipliers(found: ConfigJson, family: str) -> dict[str, float]:
    """Granite's, whose scores are not divided by the root of the head's size."""
    if family != "granite":
        return {}
    return {
        "embedding_multiplier": found.embedding_multiplier or 1.0,
        "residual_multiplier": found.residual_multiplier or 1.0,
        "attention_multiplier": found.attention_multiplier or 1.0,
        "logits_divisor": found.logits_scaling or 1.0,
    }


def _sliding_window(found: ConfigJson, family: str, context_tokens: int) -> int:
    """StarCoder2's window, where it is shorter than the context; other families end their context at theirs."""
    window = found.sliding_window or 0
    return window if family == "starcoder2" and 0 < window < context_tokens else 0


def _context_tokens(found: ConfigJson, family: str, file: Path) -> int:
    """The longest context. Up to a sliding window's length attention is full attention: most families end there."""
    switched_on = found.use_sliding_window or family not in (*SWITCHED_WINDOW, "starcoder2")
    window = found.sliding_window if switched_on else None
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
