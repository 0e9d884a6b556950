"""What a decoder looks like: one description with options for every family, read from a folder's configuration."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


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

    @property
    def identity(self) -> str:
        """The same text for the same decoder, also after this class has got new fields: defaults are left out."""
        defaults = {field.name: field.default for field in fields(self)}
        values = {name: value for name, value in asdict(self).items() if getattr(self, name) != defaults[name]}
        return json.dumps(values, sort_keys=True)
