"""Cosine and sine tables of rotary positions, as `transformers.modeling_rope_utils` computes them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from local_runtime.errors import ModelInvalid
from local_runtime.model.decoder_config import DecoderConfig, RopeScaling

Floats = NDArray[np.float32]


def rope_tables(config: DecoderConfig) -> tuple[Floats, Floats]:
    """(cos, sin), each float32 `[context_tokens, head_dim / 2]`; with learned positions nothing is rotated: 1 and 0."""
    if config.learned_positions:
        shape = (config.context_tokens, config.head_dim // 2)
        return np.ones(shape, np.float32), np.zeros(shape, np.float32)
    frequencies, attention_factor = _frequencies(config)
    angles = np.outer(np.arange(config.context_tokens, dtype=np.float32), frequencies)
    factor = np.float32(attention_factor)
    return np.cos(angles) * factor, np.sin(angles) * factor


def _frequencies(config: DecoderConfig) -> tuple[Floats, float]:
    """Inverse frequencies `[head_dim / 2]` (radians per token) and the factor on cos and sin."""
    scaling, dim = config.rope_scaling, config.head_dim
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    inverse = np.float32(1) / np.power(np.float32(config.rope_theta), exponents)
    match scaling.kind:
        case "default":
            return inverse, 1.0
        case "linear":
            return inverse / np.float32(scaling.factor), 1.0
        case "llama3":
            return _llama3(inverse, scaling), 1.0
        case "yarn":
            return _yarn(inverse, scaling, dim, config.rope_theta)
    raise ModelInvalid(f"rope scaling '{scaling.kind}' is unknown; known are default, linear, llama3 and yarn")


def _llama3(inverse: Floats, scaling: RopeScaling) -> Floats:
    """Llama 3.1: long waves are stretched, short ones kept, those between are blended."""
    wavelength = 2 * math.pi / inverse
    turns = scaling.original_context_tokens / wavelength
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blended = (1 - smooth) * inverse / scaling.factor + smooth * inverse
    out = np.where(turns < scaling.low_freq_factor, inverse / scaling.factor, blended)
    return np.where(turns > scaling.high_freq_factor, inverse, out).astype(np.float32)


def _yarn(inverse: Floats, scaling: RopeScaling, dim: int, theta: float) -> tuple[Floats, float]:
    """YaRN (arXiv 2309.00071): a linear ramp between stretched and kept frequencies, and a temperature on attention."""

    def dimension_of(rotations: float) -> float:
        return dim * math.log(scaling.original_context_tokens / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension_of(scaling.beta_fast)), 0)
    high = min(math.ceil(dimension_of(scaling.beta_slow)), dim - 1)
    ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - low) / (high - low if high != low else 0.001), 0, 1)
    stretched = inverse / np.float32(scaling.factor)
    default_factor = 0.1 * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0
    return (stretched * ramp + inverse * (1 - ramp)).astype(np.float32), scaling.attention_factor or default_factor
