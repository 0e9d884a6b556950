"""What the tests of model folders share: tiny folders, and a way to damage a JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_runtime.model.decoder_config import DecoderConfig, RopeScaling
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import SHAPES, write_folder

LLAMA = SHAPES["tiny"]
QWEN2 = DecoderConfig("qwen2", 64, 96, 2, 4, 2, 16, 320, 256, rope_theta=1e6, tied_embeddings=True, qkv_bias=True)
UNTIED = DecoderConfig("llama", 64, 96, 1, 8, 4, 32, 320, 256, qkv_bias=True, o_bias=True, mlp_bias=True)
LLAMA3 = DecoderConfig("llama", 64, 96, 1, 4, 1, 16, 320, 512, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 128))
LINEAR = DecoderConfig("llama", 64, 96, 1, 4, 4, 16, 320, 512, rope_scaling=RopeScaling("linear", 4.0))
YARN = DecoderConfig(
    "qwen2", 64, 96, 1, 4, 4, 16, 320, 512, qkv_bias=True,
    rope_scaling=RopeScaling("yarn", 4.0, original_context_tokens=128, attention_factor=1.138629436111989),
)  # fmt: skip
ODDITIES = {"llama": LLAMA, "qwen2": QWEN2, "untied": UNTIED, "llama3": LLAMA3, "linear": LINEAR, "yarn": YARN} | {
    name: SHAPES[f"tiny-{name}"] for name in ("qwen3", "granite", "starcoder2", "starcoder")
}


def imported(source: Path, config: DecoderConfig = LLAMA, quantization: str = "q4f16_1", **options: Any) -> Path:
    """A model folder made from random weights written to `source`."""
    write_folder(source, config, **options)
    return import_model(source, QUANTIZATIONS[quantization])


def edit_json(file: Path, edit: Callable[[Any], None]) -> None:
    """Apply `edit` to the content of a JSON file."""
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
