"""A decoder in a page of NumPy, and random weights for it, by MLC's names."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import fused_tensors

Floats = npt.NDArray[np.float32]
Adapter = dict[str, tuple[list[Floats], list[Floats]]]
"""A and B of each part of each linear, by the linear's name."""


@dataclass
class Weights:
    """Float weights by MLC's names, `model.layers.0.mlp.down_proj.weight` and so on."""

    config: DecoderConfig
    tensors: dict[str, Floats]
    adapter: Adapter = field(default_factory=dict)
    strength: float = 0.0


def random_weights(config: DecoderConfig, seed: int = 0, scale: float = 0.05) -> Weights:
    """Normal weights; norms around one."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for tensor in fused_tensors(config):
        values = rng.standard_normal(tensor.shape).astype(np.float32) * np.float32(scale)
        tensors[tensor.name] = values + np.float32(tensor.name.endswith("norm.weight"))
    return Weights(config, tensors)


def random_adapter(config: DecoderConfig, rank: int, seed: int = 1, scale: float = 0.05) -> Adapter:
    """An adapter on every linear."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    adapter: Adapter = {}
    for tensor in fused_tensors(config):
        if (
            tensor.name.startswith("model.layers") and tensor.name.endswith("proj.weight")
        ) or ".c_attn.weight" in tensor.name:
            sizes = [part.stop - part.start for part in tensor.parts]
            adapter[tensor.name.removesuffix(".weight")] = (
                [normal(rank, tensor.shape[1]) for _ in sizes],
                [normal(size, rank) for size in sizes],
            )
    return adapter


def rope_tables(config: DecoderConfig, n_positions: int) -> tuple[Floats, Floats]:
    """cos and sin `[n_positions, head_dim / 2]`."""
    frequencies = config.rope_theta ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    angles = np.outer(np.arange(n_positions), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def logits(weights: Weights, ids: npt.NDArray[np.int32]) -> Floats:
    """Logits `[len(ids), vocab_size]` in float64 arithmetic."""
    c, w = weights.config, {name: tensor.astype(np.float64) for name, tensor in weights.tensors.items()}
    cos, sin = (table.astype(np.float64) for table in rope_tables(c, len(ids)))
    qkv_name = "c_attn" if c.family == "qwen2" else "qkv_proj"
    q_rows, kv_rows = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim

    def norm(x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c.norm_eps) * w[f"{name}.weight"]

    def linear(x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        y = x @ w[f"{name}.weight"].T
        if f"{name}.bias" in w:
            y = y + w[f"{name}.bias"]
        if name in weights.adapter:
            a, b = weights.adapter[name]
            y = y + weights.strength * np.concatenate(
                [x @ p.T.astype(float) @ q.T for p, q in zip(a, b, strict=True)], -1
            )
        return y

    def rotate(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        low, high = np.split(x, 2, axis=-1)
        return np.concatenate([low * cos[:, None] - high * sin[:, None], high * cos[:, None] + low * sin[:, None]], -1)

    hidden = w["model.embed_tokens.weight"][ids]
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for n in range(c.n_layers):
        layer = f"model.layers.{n}"
        qkv = linear(norm(hidden, f"{layer}.input_layernorm"), f"{layer}.self_attn.{qkv_name}")
        q, k, v = (
            part.reshape(len(ids), -1, c.head_dim) for part in np.split(qkv, [q_rows, q_rows + kv_rows], axis=-1)
        )
        k, v = (np.repeat(x, c.n_heads // c.n_kv_heads, axis=1) for x in (rotate(k), v))
        scores = np.einsum("qhd,khd->hqk", rotate(q), k) / np.sqrt(c.head_dim) + future
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", weight / weight.sum(-1, keepdims=True), v).reshape(len(ids), -1)
        hidden = hidden + linear(mixed, f"{layer}.self_attn.o_proj")
        gate, up = np.split(
            linear(norm(hidden, f"{layer}.post_attention_layernorm"), f"{layer}.mlp.gate_up_proj"), 2, -1
        )
        hidden = hidden + linear(gate / (1 + np.exp(-gate)) * up, f"{layer}.mlp.down_proj")
    hidden = norm(hidden, "model.norm")
    head = w["model.embed_tokens.weight" if c.tied_embeddings else "lm_head.weight"]
    return (hidden @ head.T).astype(np.float32)
