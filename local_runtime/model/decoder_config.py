"""What a decoder looks like: one description with options for every family, read from a folder's configuration."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum


class Activation(StrEnum):
    """What an MLP computes between its linears."""

    SWIGLU = "swiglu"
    """silu(gate) * up, of two linears."""
    GELU = "gelu"
    """x Φ(x) of one linear, with the normal distribution Φ itself."""
    GELU_TANH = "gelu_tanh"
    """The same with Φ by tanh (Hendrycks & Gimpel, arXiv 1606.08415)."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary positions are stretched. Fields follow Hugging Face's `rope_scaling`; unused ones stay at 0."""

    kind: str = "default"
    """`default`, `linear`, `llama3` or `yarn`."""
    factor: float = 1.0
    low_freq_factor: float = 0.0
    high_freq_factor: float = 0.0
    original_context_tokens: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 0.0


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape and options of a decoder. Everything here goes into the key of the compiled library."""

    family: str
    """MLC's `model_type`, for example `llama` or `qwen2`."""
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    context_tokens: int
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling = RopeScaling()
    tied_embeddings: bool = False
    """The output head uses the embedding's weights."""
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    layer_norm: bool = False
    """Norms take the mean away and have a bias; else they are RMS norms."""
    qk_norm: bool = False
    """Each head's query and key pass an RMS norm before they are rotated."""
    activation: Activation = Activation.SWIGLU
    learned_positions: int = 0
    """Rows of a table of positions that is added to the embedding, in place of rotary positions; 0 for rotary ones."""
    sliding_window: int = 0
    """How many tokens, itself included, a token looks at; 0 for all before it."""
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    """Of what attention and MLP add to the stream."""
    attention_multiplier: float = 0.0
    """Of a query's product with a key; 0 for 1 / sqrt(head_dim)."""
    logits_divisor: float = 1.0

    @property
    def identity(self) -> str:
        """The same text for the same decoder, also after this class has got new fields: defaults are left out."""
        defaults = {field.name: field.default for field in fields(self)}
        values = {name: value for name, value in asdict(self).items() if getattr(self, name) != defaults[name]}
        return json.dumps(values, sort_keys=True)
