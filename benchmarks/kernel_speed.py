"""Tokens per second of our kernels next to llama.cpp with the same weights, in one run.

    pip install llama-cpp-python==0.3.36 gguf     (built without AMX: CMAKE_ARGS="-DGGML_NATIVE=on -DGGML_AMX_INT8=off")
    python benchmarks/kernel_speed.py [--shapes 46M,0.5B] [--bits 8,4] [--rounds 9]

int8 against Q8_0, int4 against Q4_0: random values that both formats hold exactly (groups of 32, float16 scales), so
the two also compute the same logits, which is checked. Prefill is 512 tokens in one call, decode 64 tokens one by one.
Rounds of ours, ours with a rank-16 adapter on all linears, and llama.cpp alternate, so that whatever else the machine
does hits all alike; the median round and the best are given. llama.cpp gets the better of flash attention on and off and of micro-batches of 128 and
512. Prints one JSON line a combination and one with all at the end.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import llama_cpp as api
import numpy as np
from kernel_shapes import ADAPTER_RANK, QUANTIZATION, SHAPES, Runner, weights

from local_runtime.devices.target import detect, usable_cores
from local_runtime.tvm.run.library import ensure_library, runtime_environment

N_PREFILL, N_DECODE, N_CONTEXT = 512, 64, 1024


def write_gguf(path: Path, config: Any, quantization: Any) -> None:
    """The same weights as GGUF. llama.cpp's Llama rotates neighbours, so its rows of q and k are re-ordered."""
    qwen = config.family == "qwen2"
    kind = gguf.GGMLQuantizationType.Q8_0 if quantization.bits == 8 else gguf.GGMLQuantizationType.Q4_0
    writer = gguf.GGUFWriter(str(path), "qwen2" if qwen else "llama")
    writer.add_context_length(config.context_tokens)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    names = {
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
        "up_proj": "ffn_up", "down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for tensor, values, scales in weights(config, quantization):
        for part in tensor.parts:
            *path_, module, end = part.name.split(".")
            layer = next((piece for piece in path_ if piece.isdigit()), None)
            name = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}.get(module)
            name = f"{name}.{end}" if name else f"blk.{layer}.{names[module]}.{end}"
            rows = np.arange(part.start, part.stop)
            if not qwen and module in ("q_proj", "k_proj"):
                rows = rows.reshape(-1, 2, config.head_dim // 2).swapaxes(1, 2).reshape(-1)
            if scales is None:
                writer.add_tensor(name, values[rows].astype(np.float32))
            else:
                writer.add_tensor(name, blocks(values[rows], scales[rows], quantization.bits), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def blocks(q: Any, scales: Any, bits: int) -> Any:
    """llama.cpp's `block_q8_0` or `block_q4_0`: a float16 scale, then 32 values."""
    groups = q.reshape(len(q), -1, 32)
    if bits == 8:
        body = groups.view(np.uint8)
    else:
        stored = (groups + 8).astype(np.uint8)
        body = stored[..., :16] | stored[..., 16:] << 4
    head = scales[..., None].view(np.uint8)
    return np.concatenate([head, body], axis=-1).reshape(len(q), -1)


class LlamaCpp:
    """llama.cpp through its C interface: prefill and decode of one sequence."""

    def __init__(self, path: Path, vocab_size: int, n_ubatch: int, flash: bool) -> None:
        self.api, self.vocab_size = api, vocab_size
        quiet = api.llama_log_callback(lambda level, text, data: None)
        self._quiet = quiet
        api.llama_log_set(quiet, ctypes.c_void_p(0))
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = N_CONTEXT, N_PREFILL, n_ubatch
        params.n_threads = params.n_threads_batch = usable_cores()
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = api.llama_init_from_model(self.model, params)

    def forward(self, ids: Any) -> Any:
        """Logits of the last of `ids` `[vocab]`, a view."""
        tokens = (self.api.llama_token * len(ids))(*[int(i) for i in ids])
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(tokens, len(ids))):
            raise RuntimeError("llama_decode failed")
        return np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, -1), (self.vocab_size,))

    def clear(self) -> None:
        """Forget the sequence."""
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def prefill(self, ids: Any) -> None:
        """One prompt from nothing."""
        self.clear()
        self.forward(ids)

    def decode(self, start: int) -> None:
        """One token; the sequence starts anew with `start` 0."""
        if start == 0:
            self.clear()
        self.forward([5])

    def close(self) -> None:
        """Give back its memory."""
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)


def seconds(action: Callable[[], None]) -> float:
    """How long something takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def settle() -> None:
    """Wait until the threads of whoever ran last have stopped spinning for more work."""
    time.sleep(0.1)


def decode_seconds(decode: Callable[[int], None]) -> float:
    """Median time of one token."""
    return statistics.median(seconds(lambda i=i: decode(i)) for i in range(N_DECODE))  # type: ignore[misc]


def figures(times: dict[str, list[float]], choose: Callable[[list[float]], float]) -> dict[str, float]:
    """Tokens per second, ratios to llama.cpp, and what the adapter costs in percent of time, by the round chosen."""
    rate = {name: (N_PREFILL if "prefill" in name else 1) / choose(t) for name, t in times.items()}
    result = {name: round(value, 1) for name, value in rate.items()}
    for phase in ("prefill", "decode"):
        result[f"{phase}_ratio"] = round(rate[phase] / rate[f"{phase}_llama_cpp"], 2)
        result[f"{phase}_adapter_percent"] = round((rate[phase] / rate[f"{phase}_adapter"] - 1) * 100, 1)
    return result


def compare(shape: str, bits: int, rounds: int) -> dict[str, Any]:
    """All figures of one shape and one width."""
    config, quantization = SHAPES[shape], QUANTIZATION[bits]
    phases: list[tuple[float, str]] = []
    begin = time.perf_counter()
    library = ensure_library(config, quantization, detect(), progress=lambda phase: phases.append((0.0, phase)))
    compile_s = time.perf_counter() - begin if phases else None
    ours = Runner(library, config, quantization, N_CONTEXT)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, N_PREFILL)

    def prefill() -> None:
        np.from_dlpack(ours.call("prefill", ids, 0)[0])

    def decode(start: int) -> None:
        np.from_dlpack(ours.call("decode", np.array([5]), start)[0])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_gguf(path, config, quantization)
        best = None
        for n_ubatch, flash in ((512, True), (512, False), (128, True), (128, False)):
            candidate = LlamaCpp(path, config.vocab_size, n_ubatch, flash)
            taken = min(seconds(lambda c=candidate: c.prefill(ids)) for _ in range(3))  # type: ignore[misc]
            if best is None or taken < best[0]:
                if best:
                    best[1].close()
                best = (taken, candidate, n_ubatch, flash)
            else:
                candidate.close()
        assert best is not None
        theirs = best[1]
        theirs.clear()
        reference = np.array(theirs.forward(ids))
        agreement = float(
            np.corrcoef(reference, np.from_dlpack(ours.call("prefill", ids, 0)[0])[0, : config.vocab_size])[0, 1]
        )
        times: dict[str, list[float]] = {}
        ours.use_adapter(ADAPTER_RANK)  # strength 0 is the base
        for _ in range(rounds):
            for strength, name in ((0.0, ""), (1.0, "_adapter")):
                settle()
                ours.strength_array[0] = strength
                times.setdefault(f"prefill{name}", []).append(seconds(prefill))
                times.setdefault(f"decode{name}", []).append(decode_seconds(decode))
            settle()
            times.setdefault("prefill_llama_cpp", []).append(seconds(lambda: theirs.prefill(ids)))
            times.setdefault("decode_llama_cpp", []).append(decode_seconds(theirs.decode))
        theirs.close()
    return {
        "shape": shape,
        "quantization": quantization.name,
        "isa": detect().isa.value,
        "median": figures(times, statistics.median),
        "best": figures(times, min),
        "logit_correlation": round(agreement, 5),
        "llama_cpp": {"n_ubatch": best[2], "flash_attention": best[3]},
        "compile_s": compile_s and round(compile_s, 1),
        "library_bytes": library.path.stat().st_size,
    }


def main() -> None:
    """Run all combinations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="46M,0.5B")
    parser.add_argument("--bits", default="8,4")
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    os.environ.update(runtime_environment(usable_cores()))
    results = []
    for shape in chosen.shapes.split(","):
        for bits in chosen.bits.split(","):
            results.append(compare(shape, int(bits), chosen.rounds))
            print(json.dumps(results[-1]), flush=True)
    print(json.dumps({"kernel_speed": results}))


if __name__ == "__main__":
    main()
