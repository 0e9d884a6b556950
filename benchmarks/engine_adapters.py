"""What an adapter costs: loading it, choosing it, and computing with it.

    python -m local_runtime.model.synthetic /tmp/q --shape qwen-0.5b && understudy model import /tmp/q --name half --quantization q8f16_g32
    python benchmarks/engine_adapters.py half

Adapters of the given rank on all linears, with random matrices. `first_ms`: read from disk, checked, packed. `swap_ms`:
another adapter that is resident, from the choice to the call. `decode`, `prefill`: time with an adapter over time without,
medians of runs that take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter, Prompt
from local_runtime.model import registry
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine


def random_adapter(folder: Path, config: DecoderConfig, rank: int, seed: int) -> Adapter:
    """A PEFT folder with random matrices for all linears of all layers."""
    random = np.random.default_rng(seed)
    tensors = {}
    for fused in fused_tensors(config):
        for part in fused.parts:
            if fused.takes_adapter:
                n_out, n_in = fused.part_shape(part)
                stem = f"base_model.model.{part.name.removesuffix('.weight')}"
                tensors[f"{stem}.lora_A.weight"] = random.standard_normal((rank, n_in), dtype=np.float32) * np.float32(
                    0.02
                )
                tensors[f"{stem}.lora_B.weight"] = random.standard_normal((n_out, rank), dtype=np.float32) * np.float32(
                    0.02
                )
    folder.mkdir()
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank}))
    return read_adapter(folder)


def forward_ms(engine: CompiledEngine, adapter: Adapter | None, ids: tuple[int, ...], past: int, repeats: int) -> float:
    """Median time of one forward of `ids` after `past` tokens."""
    bound = engine.adapters.bind(adapter)
    times = []
    with engine._sequence(Prompt((7,) * (past + 1)), adapter, 1.0) as sequence:
        while sequence.n_tokens < past:
            engine._forward(sequence, (7,) * min(128, past - sequence.n_tokens), bound, 1.0)
        for _ in range(repeats):
            engine._sequences.rewind(sequence, past)
            began = time.perf_counter()
            engine._forward(sequence, ids, bound, 1.0)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def timed_ms(step: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    step()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    config = ModelFolder.open(registry.find(arguments.model)).config
    engine = open_engine(arguments.model, EngineOptions(kv_cache_tokens=4096))
    with tempfile.TemporaryDirectory() as home:
        adapters = [random_adapter(Path(home) / str(seed), config, arguments.rank, seed) for seed in (1, 2)]
        first = [timed_ms(lambda a=a: engine.adapters.bind(a)) for a in adapters]
    token, chunk = (5,), tuple(range(100, 228))
    for adapter in (None, *adapters):
        forward_ms(engine, adapter, token, 512, 5)
    swaps = []
    for n in range(40):
        began = time.perf_counter()
        bound = engine.adapters.bind(adapters[n % 2])
        swaps.append((time.perf_counter() - began) * 1000)
        del bound
    decode: dict[bool, list[float]] = {False: [], True: []}
    prefill: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(arguments.rounds):
        for tuned in (False, True):
            adapter = adapters[0] if tuned else None
            decode[tuned].append(forward_ms(engine, adapter, token, 512, 15))
            prefill[tuned].append(forward_ms(engine, adapter, chunk, 384, 5))
    result = {"benchmark": "engine_adapters", "model": arguments.model, "rank": arguments.rank}
    result |= {"adapter_mb": round(engine.adapters.size_bytes / 2e6, 1), "first_ms": round(statistics.median(first), 1)}
    result |= {"swap_ms": round(statistics.median(swaps), 4), "swap_worst_ms": round(max(swaps), 3)}
    for name, times in (("decode", decode), ("prefill_128", prefill)):
        base, tuned_ms = (statistics.median(times[tuned]) for tuned in (False, True))
        result |= {f"{name}_ms": round(base, 3), f"{name}_overhead_percent": round(100 * (tuned_ms / base - 1), 1)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
