"""How long a library of each family takes to compile for this machine, and how large it is.

    python benchmarks/kernel_families.py [--families llama,qwen3] [--quantizations q8f16_g32,q4f16_1]

Shapes are those of published models; weights are not needed. Each library is built by a compiling process of its own, as a
user's first start does, in an empty home: `seconds` is all of it, the compiler's own start among them, and `cpu_seconds` what
it computed, which other work on the machine changes little. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time

from local_runtime.devices.target import detect
from local_runtime.model.decoder_config import Activation, DecoderConfig, RopeScaling
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.tvm.run.library import ensure_library

SHAPES = {
    "llama (DeepSeek-Coder 1.3B)": DecoderConfig(
        "llama", 2048, 5504, 24, 16, 16, 128, 32256, 16384, rope_theta=1e5, rope_scaling=RopeScaling("linear", 4.0)
    ),
    "qwen2 (Qwen2.5-Coder 0.5B)": DecoderConfig(
        "qwen2", 896, 4864, 24, 14, 2, 64, 151936, 32768, rope_theta=1e6, tied_embeddings=True, qkv_bias=True
    ),
    "qwen3 (0.6B)": DecoderConfig(
        "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 40960, rope_theta=1e6, tied_embeddings=True, qk_norm=True
    ),
    "granite (3.1 2B)": DecoderConfig(
        "granite", 2048, 8192, 40, 32, 8, 64, 49152, 131072, norm_eps=1e-5, rope_theta=5e6, tied_embeddings=True,
        embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.015625, logits_divisor=8.0,
    ),
    "starcoder2 (3B)": DecoderConfig(
        "starcoder2", 3072, 12288, 30, 24, 2, 128, 49152, 16384, norm_eps=1e-5, rope_theta=1e6, tied_embeddings=True,
        qkv_bias=True, o_bias=True, mlp_bias=True, layer_norm=True, activation=Activation.GELU_TANH, sliding_window=4096,
    ),
    "gpt_bigcode (StarCoder)": DecoderConfig(
        "gpt_bigcode", 6144, 24576, 40, 48, 1, 128, 49152, 8192, norm_eps=1e-5, tied_embeddings=True, qkv_bias=True,
        o_bias=True, mlp_bias=True, layer_norm=True, activation=Activation.GELU, learned_positions=8192,
    ),
}  # fmt: skip


def main() -> None:
    """Build one library after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", help="by default all: " + ", ".join(config.family for config in SHAPES.values()))
    parser.add_argument("--quantizations", default="q8f16_g32,q4f16_1,q0f16")
    arguments = parser.parse_args()
    wanted = arguments.families.split(",") if arguments.families else [config.family for config in SHAPES.values()]
    target, found = detect(), []
    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        for name, config in SHAPES.items():
            for quantization in arguments.quantizations.split(",") if config.family in wanted else ():
                began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                library = ensure_library(config, QUANTIZATIONS[quantization], target)
                seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                found.append(
                    {
                        "family": name,
                        "quantization": quantization,
                        "seconds": round(seconds, 1),
                        "cpu_seconds": round(cpu_seconds, 1),
                        "library_bytes": library.path.stat().st_size,
                    }
                )
    print(json.dumps({"target": f"{target.kind} {target.isa}", "n_threads": target.n_threads, "libraries": found}))


if __name__ == "__main__":
    main()
