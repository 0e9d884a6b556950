"""A run's last checkpoint as a Hugging Face folder: bf16 safetensors, config.json, tokenizer.json, and what became of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer.pretrain import checkpoint
from trainer.pretrain.decoder import Decoder, Shape
from trainer.pretrain.tokenizer import END, load_tokenizer


def export(run: Path, out: Path) -> None:
    """Write the model of the run folder `run` into `out`, and `training.json` with tokens, steps and losses beside it."""
    standing = checkpoint.standing(run)
    model = Decoder(standing.shape)
    checkpoint.load(run, model)
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in model.named_parameters()}
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    end_id = load_tokenizer(run / "tokenizer.json").token_to_id(END)
    (out / "config.json").write_text(json.dumps(_config(standing.shape, end_id), indent=2) + "\n")
    shutil.copyfile(run / "tokenizer.json", out / "tokenizer.json")
    if (run / "loss.png").exists():
        shutil.copyfile(run / "loss.png", out / "loss.png")
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    said = asdict(standing) | {
        "n_parameters": sum(weight.numel() for weight in weights.values()),
        "training_loss": lines[-1]["loss"] if lines else None,
        "held_out_losses": [[line["n_tokens"], line["held_out_loss"]] for line in lines if "held_out_loss" in line],
    }
    (out / "training.json").write_text(json.dumps(said, indent=1) + "\n")


def _config(shape: Shape, end_id: int | None) -> dict[str, object]:
    """config.json as transformers 4 and 5 read it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.context_tokens,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "torch_dtype": "bfloat16",
    }
