"""Random models with every oddity of the families, random adapters, and the reference implementations of both."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import transformers
from peft import PeftModel

from local_runtime.engines.protocol import Adapter, Prompt
from local_runtime.model.decoder_config import Activation, DecoderConfig, RopeScaling
from local_runtime.model.importing import import_model
from local_runtime.model.layout import NAMES, fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.decoder import MAX_ROWS

GROUPED = DecoderConfig("llama", 128, 192, 2, 4, 2, 32, 320, 512, tied_embeddings=True)
QWEN2 = DecoderConfig("qwen2", 64, 96, 2, 4, 2, 16, 320, 256, rope_theta=1e6, tied_embeddings=True, qkv_bias=True)
UNTIED = DecoderConfig("llama", 64, 96, 2, 8, 4, 32, 333, 256, qkv_bias=True, o_bias=True, mlp_bias=True)
SCALINGS = {  # at run time only: one library for all
    "linear": RopeScaling("linear", 4.0),
    "llama3": RopeScaling("llama3", 8.0, 1.0, 4.0, 128),
    "yarn": RopeScaling("yarn", 4.0, original_context_tokens=128, attention_factor=1.138629436111989),
}
ODDITIES = {"grouped": GROUPED, "qwen2": QWEN2, "untied": UNTIED} | {
    kind: replace(GROUPED, rope_scaling=scaling) for kind, scaling in SCALINGS.items()
}


def imported(source: Path, config: DecoderConfig, quantization: str, name: str, seed: int = 0) -> Path:
    """The folder of a model with random weights, whose logits have a spread near 1, as an untrained model's."""
    write_folder(source, config, seed=seed)
    weights = safetensors.numpy.load_file(source / "model.safetensors")
    for end in (".weight", ".bias") if config.layer_norm else (".weight",):
        weights[NAMES[config.family].norm + end] *= np.float32(0.4)
    safetensors.numpy.save_file(weights, source / "model.safetensors", {"format": "pt"})
    return import_model(source, QUANTIZATIONS[quantization], name)


def reference(model: Path) -> Any:
    """A `transformers` model with exactly the weights that the folder stands for."""
    opened = ModelFolder.open(model)
    config = transformers.AutoConfig.from_pretrained(_source_of(model))
    decoder = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    weights = {name: torch.tensor(opened.dequantized(name)) for name in opened.huggingface_names()}
    missing, unexpected = decoder.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    decoder.tie_weights()
    return decoder.eval()


def _source_of(model: Path) -> Path:
    """The Hugging Face folder that `imported` wrote."""
    return model.parents[2] / f"source-{model.name.removeprefix('m')}"


def reference_logits(decoder: Any, ids: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`[len(ids), vocab]`."""
    with torch.no_grad():
        return decoder(torch.tensor([ids])).logits[0].numpy()


def with_adapter(decoder: Any, adapter: Path) -> Any:
    """The reference with PEFT's own implementation of the adapter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PEFT's own use of transformers
        return PeftModel.from_pretrained(decoder, adapter).eval()


def engine_logits(
    engine: CompiledEngine,
    ids: tuple[int, ...],
    adapter: Adapter | None = None,
    strength: float = 1.0,
    chunk: int = MAX_ROWS,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits of every token `[len(ids), vocab]`, computed `chunk` at a time in a sequence of its own."""
    bound, rows = engine.adapters.bind(adapter), []
    with engine._sequence(Prompt(ids), adapter, strength) as sequence:
        engine._sequences.rewind(sequence, 0)
        for start in range(0, len(ids), chunk):
            found = engine._forward(sequence, ids[start : start + chunk], bound, strength, every_row=True)
            rows.append(found.logits.copy())
    return np.concatenate(rows)


# Every family, its heads of another size each, and what only some of them have.
NORMED = DecoderConfig(
    "starcoder2", 64, 96, 2, 4, 2, 32, 320, 512, norm_eps=1e-5, tied_embeddings=True, qkv_bias=True, o_bias=True,
    mlp_bias=True, layer_norm=True, activation=Activation.GELU_TANH, rope_theta=1e5, sliding_window=45,
)  # fmt: skip
FAMILIES = {
    "llama": GROUPED,
    "codellama": replace(GROUPED, rope_theta=1e6),
    "deepseek-coder": replace(GROUPED, rope_scaling=SCALINGS["linear"], rope_theta=1e5),
    "seed-coder": replace(GROUPED, rope_theta=5e5),
    "qwen2": QWEN2,
    "qwen3": DecoderConfig("qwen3", 64, 96, 2, 4, 2, 48, 320, 256, rope_theta=1e6, tied_embeddings=True, qk_norm=True),
    "granite": DecoderConfig(
        "granite", 64, 96, 2, 4, 2, 80, 320, 256, tied_embeddings=True, embedding_multiplier=3.0,
        residual_multiplier=0.5, attention_multiplier=0.2, logits_divisor=0.5,
    ),
    "starcoder2": NORMED,
    "starcoder": replace(
        NORMED, family="gpt_bigcode", hidden_size=128, n_heads=8, n_kv_heads=1, head_dim=16, activation=Activation.GELU,
        learned_positions=256, context_tokens=256, rope_theta=1e4, sliding_window=0,
    ),
}  # fmt: skip


TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_adapter(
    folder: Path, config: DecoderConfig, *, rank: int = 8, targets: tuple[str, ...] | None = None, seed: int = 1, layers: tuple[int, ...] | None = None,
    size: float = 0.1, manifest: dict[str, Any] | None = None, **options: Any,
) -> Path:  # fmt: skip
    """A PEFT folder with random matrices, on all linears unless `targets` names some."""
    random = np.random.default_rng(seed)
    tensors = {}
    wanted = {
        p.name.removesuffix(".weight"): f.part_shape(p)
        for f in fused_tensors(config)
        for p in f.parts
        if f.takes_adapter
    }
    targets = targets or tuple(sorted({module.rpartition(".")[2] for module in wanted}))
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(targets),
        "bias": "none",
    } | options
    for module, (n_out, n_in) in wanted.items():
        name, layer = module.rpartition(".")[2], int(module.split(".")[2])
        if name in targets and (layers is None or layer in layers):
            r = settings.get("rank_pattern", {}).get(name, rank)
            tensors[f"base_model.model.{module}.lora_A.weight"] = (random.standard_normal((r, n_in)) * size).astype(
                np.float32
            )
            tensors[f"base_model.model.{module}.lora_B.weight"] = (random.standard_normal((n_out, r)) * size).astype(
                np.float32
            )
    if layers is not None:
        settings["layers_to_transform"] = list(layers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def check_rewound_and_forked(engine: CompiledEngine, ids: tuple[int, ...], others: tuple[int, ...]) -> None:
    """Assert that 100 `ids` have the same logits, bit for bit, after `others` were taken back, and in a fork."""
    fresh = engine_logits(engine, ids)
    bound = engine.adapters.bind(None)
    with engine._sequence(Prompt(ids[:1]), None, 1.0) as sequence:
        engine._forward(sequence, ids[:70], bound, 0.0)
        engine._forward(sequence, others, bound, 0.0)
        engine._sequences.rewind(sequence, 70)
        assert np.array_equal(engine._forward(sequence, ids[70:], bound, 0.0, every_row=True).logits, fresh[70:])
        fork = engine._sequences.acquire(sequence.key, (*ids[:50], 1))
        assert fork.n_tokens == 50
        assert np.array_equal(engine._forward(fork, ids[50:], bound, 0.0, every_row=True).logits, fresh[50:])
        engine._sequences.rewind(sequence, 99)
        assert np.array_equal(engine._forward(sequence, ids[99:], bound, 0.0).logits, fresh[99:])
        engine._sequences.release(fork)
