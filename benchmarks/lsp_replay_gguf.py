"""A Llama-shaped Hugging Face folder as GGUF, Q8_0: the format whose groups of 32 int8 values ours are kin to."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

SENTINELS = {"<fim_prefix>": "fim_pre", "<fim_suffix>": "fim_suf", "<fim_middle>": "fim_mid", "<file_sep>": "fim_sep"}
"""What llama.cpp calls them. It knows most by their spelling, but not this `<file_sep>`."""


def write_gguf(folder: Path, path: Path) -> None:  # noqa: PLR0915 - one format, from its top to its end
    """Weights, vocabulary and sentinels of `folder`."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    heads, kv_heads, n_layers = (
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["num_hidden_layers"],
    )
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    names = {number: name for name, number in (tokenizer["model"]["vocab"] | added).items()}
    tokens = [names.get(number, f"[PAD{number}]") for number in range(config["vocab_size"])]
    kinds = [gguf.TokenType.CONTROL if name in added else gguf.TokenType.NORMAL if n in names else gguf.TokenType.UNUSED for n, name in enumerate(tokens)]  # fmt: skip
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(config["eos_token_id"])
    for name, kind in SENTINELS.items():
        if name in added:
            writer.add_uint32(f"tokenizer.ggml.{kind}_token_id", added[name])
    names_of = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    with safe_open(folder / "model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a dictionary
            array = weights.get_tensor(name).float().numpy()
            short = name.removesuffix(".weight").removeprefix("model.")
            if short.startswith("layers."):
                _, layer, part = short.split(".", 2)
                if part in ("self_attn.q_proj", "self_attn.k_proj"):  # llama.cpp rotates neighbours, not halves
                    n = heads if part.endswith("q_proj") else kv_heads
                    array = array.reshape(n, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)
                short = f"blk.{layer}.{names_of[part]}"
            else:
                short = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[short]
            if array.ndim == 1:
                writer.add_tensor(f"{short}.weight", array)
            else:
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(f"{short}.weight", gguf.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
