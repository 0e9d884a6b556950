"""Writes a small GGUF file: Qwen2's shape, random weights in Q8_0, a byte-level vocabulary that knows fill-in-the-middle."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel

from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import fused_tensors

SENTINELS = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")  # fmt: skip
SMALL_QWEN = DecoderConfig(
    "qwen2", 64, 96, 2, 4, 2, 16, 257 + len(SENTINELS), 512, rope_theta=1e6, tied_embeddings=True, qkv_bias=True
)


def write_gguf(path: Path, config: DecoderConfig = SMALL_QWEN, seed: int = 0) -> Path:
    """A model of random weights."""
    random = np.random.default_rng(seed)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.n_layers)
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(config.context_tokens)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.n_layers)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    tokens = [*sorted(ByteLevel.alphabet()), "re", *SENTINELS]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3] * len(SENTINELS))
    writer.add_token_merges(["r e"])
    writer.add_eos_token_id(257)
    for fused in fused_tensors(config):
        for part in fused.parts:
            values = random.normal(0, 0.02, fused.part_shape(part)).astype(np.float32)
            name = names.get_name(part.name, try_suffixes=(".weight", ".bias"))
            assert name
            if fused.quantized:
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
