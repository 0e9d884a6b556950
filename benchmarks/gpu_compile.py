"""What compiling for GPUs costs: every family on every target, in processor seconds and kernels. Needs no GPU.

    python benchmarks/gpu_compile.py [--targets metal,cuda] [--families llama,qwen2] [--quantization q4f16_1] [--arch sm_89]

Two layers of 512: more layers are the same kernels again. `cuda` makes machine code where nvcc or `understudy[cuda]` is,
`metal` the source that a Mac compiles at first use. Prints one JSON line: for each, seconds, kernels and bytes of their source.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from dataclasses import replace

from local_runtime.devices.target import CUDA, choose_target
from local_runtime.model.decoder_config import Activation, DecoderConfig
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.tvm.build.gpu_build import compile_gpu_decoder, device_source
from local_runtime.tvm.build.gpu_plan import gpu_parameters
from local_runtime.tvm.run.library import BuildRequest

LLAMA = DecoderConfig("llama", 512, 1536, 2, 8, 4, 64, 16384, 4096, tied_embeddings=True)
STARCODER2 = replace(
    LLAMA, family="starcoder2", layer_norm=True, activation=Activation.GELU_TANH, qkv_bias=True, o_bias=True, mlp_bias=True,
)  # fmt: skip
FAMILIES = {
    "llama": LLAMA,
    "qwen2": replace(LLAMA, family="qwen2", qkv_bias=True),
    "qwen3": replace(LLAMA, family="qwen3", qk_norm=True),
    "granite": replace(LLAMA, family="granite", embedding_multiplier=12.0, residual_multiplier=0.2, logits_divisor=8.0),
    "starcoder2": STARCODER2,
    "gpt_bigcode": replace(STARCODER2, family="gpt_bigcode", n_kv_heads=1, learned_positions=4096),
}

KERNEL = r"(?:__global__ void|kernel void)\s+(?:__launch_bounds__\(\d+\)\s+)?(\w+)\("


def measured(family: str, kind: str, quantization: str, arch: str) -> dict[str, object]:
    """One compilation."""
    target, began, wall = choose_target(kind, arch if kind == CUDA else None), processor_seconds(), time.perf_counter()
    request = BuildRequest(
        FAMILIES[family], QUANTIZATIONS[quantization], target, QUANTIZATIONS[quantization].float_dtype
    )
    executable = compile_gpu_decoder(request, gpu_parameters(request))
    source = device_source(executable)
    return {
        "family": family,
        "target": target.name,
        "processor_s": round(processor_seconds() - began, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "kernels": len(set(re.findall(KERNEL, source))),
        "source_bytes": len(source),
    }


def processor_seconds() -> float:
    """Of this process and of the compilers that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default="metal,cuda")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--quantization", default="q4f16_1", choices=QUANTIZATIONS)
    parser.add_argument("--arch", default="sm_89")
    given = parser.parse_args()
    found = [
        measured(family, kind, given.quantization, given.arch)
        for kind in given.targets.split(",")
        for family in given.families.split(",")
    ]
    print(json.dumps({"benchmark": "gpu_compile", "quantization": given.quantization, "runs": found}))


if __name__ == "__main__":
    main()
