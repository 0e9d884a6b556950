"""Writes GGUF files of small models of every family, as llama.cpp's converters lay them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel

from local_runtime.model.decoder_config import Activation, DecoderConfig
from local_runtime.model.layout import fused_tensors
from local_runtime.model.synthetic import SHAPES, random_weight

SENTINELS = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")  # fmt: skip
ARCHITECTURES = {"gpt_bigcode": "starcoder"}
"""Where llama.cpp's name is another than MLC's."""
PERMUTED = ("llama", "granite")
TINY = replace(SHAPES["tiny"], vocab_size=512)
FAMILIES: dict[str, DecoderConfig] = {
    "llama": TINY,
    "qwen2": replace(TINY, family="qwen2", qkv_bias=True, rope_theta=1e6),
    "qwen3": SHAPES["tiny-qwen3"],
    "granite": SHAPES["tiny-granite"],
    "starcoder2": SHAPES["tiny-starcoder2"],
    "gpt_bigcode": replace(SHAPES["tiny-starcoder"], activation=Activation.GELU_TANH),
    "untied": replace(TINY, tied_embeddings=False),
}
Floats = np.ndarray[Any, np.dtype[np.float32]]
Kind = Callable[[str, tuple[int, ...]], str]
"""The quantisation of a tensor, by its GGUF name and shape."""


def floats(_name: str, _shape: tuple[int, ...]) -> str:
    return "F32"


def all_linears(kind: str) -> Kind:
    """Every matrix in one quantisation; norms and biases as floats, as everywhere."""
    return lambda name, shape: kind if len(shape) == 2 and not name.startswith("position") else "F32"


def write_gguf(
    path: Path,
    config: DecoderConfig,
    kind: Kind = floats,
    *,
    change: Callable[[dict[str, Any]], None] = lambda keys: None,
    extra: dict[str, Floats] | None = None,
    seed: int = 0,
) -> dict[str, Floats]:
    """Write the file; the weights under Hugging Face's names, as what is in the file stands for. `change` edits its keys."""
    architecture = ARCHITECTURES.get(config.family, config.family)
    writer = gguf.GGUFWriter(path, architecture)
    keys = metadata(config, architecture)
    change(keys)
    for name, (value, type_name) in keys.items():
        getattr(writer, f"add_{type_name}")(name, value)
    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), config.n_layers
    )
    meant: dict[str, Floats] = {}
    for fused in fused_tensors(config):
        for part in fused.parts:
            if part.name in meant:  # a tied head that MLC keeps twice
                continue
            values = random_weight(part.name, fused.part_shape(part), seed).astype(np.float32)
            name = names.get_name(part.name, try_suffixes=(".weight", ".bias"))
            assert name is not None
            wanted = kind(name, values.shape)
            meant[part.name] = add(writer, name, permuted(values, name, config, architecture), wanted)
            meant[part.name] = permuted(meant[part.name], name, config, architecture, back=True)
    for name, values in (extra or {}).items():
        add(writer, name, values, kind(name, values.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def add(writer: gguf.GGUFWriter, name: str, values: Floats, kind: str) -> Floats:
    """Add a tensor; what its bytes stand for."""
    if kind == "F32":
        writer.add_tensor(name, values)
        return values
    its = gguf.GGMLQuantizationType[kind]
    stored = quantize(values, its)
    writer.add_tensor(name, stored, raw_dtype=its)
    return gguf.quants.dequantize(stored, its).astype(np.float32)


def permuted(values: Floats, name: str, config: DecoderConfig, architecture: str, *, back: bool = False) -> Floats:
    """llama.cpp's order of the rows of q and k, or back."""
    heads = config.n_heads if ".attn_q." in name else config.n_kv_heads if ".attn_k." in name else 0
    if not heads or architecture not in PERMUTED:
        return values
    half = values.shape[0] // heads // 2
    shape = (heads, half, 2) if back else (heads, 2, half)
    moved = values.reshape(*shape, *values.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(moved.reshape(values.shape))


def metadata(config: DecoderConfig, architecture: str) -> dict[str, Any]:
    """Keys with their values and types, as the converters write them."""
    own = {
        "context_length": (config.context_tokens, "uint32"),
        "embedding_length": (config.hidden_size, "uint32"),
        "feed_forward_length": (config.intermediate_size, "uint32"),
        "block_count": (config.n_layers, "uint32"),
        "attention.head_count": (config.n_heads, "uint32"),
        "attention.head_count_kv": (config.n_kv_heads, "uint32"),
    }
    if config.head_dim * config.n_heads != config.hidden_size:
        own |= {f"attention.{part}_length": (config.head_dim, "uint32") for part in ("key", "value")}
    norm = "attention.layer_norm_epsilon" if config.layer_norm else "attention.layer_norm_rms_epsilon"
    own[norm] = (config.norm_eps, "float32")
    if not config.learned_positions:
        own["rope.freq_base"] = (config.rope_theta, "float32")
    if config.sliding_window:
        own["attention.sliding_window"] = (config.sliding_window, "uint32")
    if config.family == "granite":
        own |= {
            "embedding_scale": (config.embedding_multiplier, "float32"),
            "residual_scale": (config.residual_multiplier, "float32"),
            "attention.scale": (config.attention_multiplier, "float32"),
            "logit_scale": (config.logits_divisor, "float32"),
        }
    tokens = [*sorted(ByteLevel.alphabet()), "re", *SENTINELS]
    tokens += [f"unused{n}" for n in range(len(tokens), config.vocab_size)]
    types = [1] * 257 + [3] * len(SENTINELS) + [5] * (config.vocab_size - 257 - len(SENTINELS))
    return {f"{architecture}.{name}": value for name, value in own.items()} | {
        "tokenizer.ggml.model": ("gpt2", "string"),
        "tokenizer.ggml.pre": ("qwen2", "string"),
        "tokenizer.ggml.tokens": (tokens, "array"),
        "tokenizer.ggml.token_type": (types, "array"),
        "tokenizer.ggml.merges": (["r e"], "array"),
        "tokenizer.ggml.eos_token_id": (257, "uint32"),
    }
