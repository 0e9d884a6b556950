"""From a model's name to a serving engine: find or compile its library, pack or map its weights, check memory first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from local_runtime.devices.target import AUTO, CPU, Target, choose_target
from local_runtime.engines.protocol import EngineModel
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.errors import BuildFailed, LibraryStale, OutOfMemory
from local_runtime.model import registry
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.model_folder import ModelFolder
from local_runtime.tvm.run.adapters import DEFAULT_LIMIT_BYTES, Adapters, TableBinding
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.gpu_opening import load_on_device
from local_runtime.tvm.run.library import Library, ensure_library
from local_runtime.tvm.run.rope import rope_tables
from local_runtime.tvm.run.runtime import Runtime, token_bytes
from local_runtime.tvm.run.weights import load_weights, packed_bytes

WORKING_BYTES = 150 << 20
"""What a process needs beside weights and KV cache."""

FEW_BYTES = 8 << 20
"""Weights that one thread reads in about 0.2 ms: to wake others for a forward costs more, and far more on a busy machine."""
KV_TOKENS, LEAST_KV_TOKENS = 16384, 2048

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How much of the machine an engine may use."""

    kv_cache_tokens: int | None = None
    """Tokens that are kept computed, over all documents; memory is taken as they come. None: 16,384, fewer if half of the
    memory that is free beside the weights holds fewer."""
    context_tokens: int = 8192
    """The longest prompt and completion; never more than the model knows, nor than the KV cache holds."""
    adapter_bytes: int = DEFAULT_LIMIT_BYTES
    """Memory for adapters that are kept ready."""
    n_threads: int | None = None
    """Threads that compute; None for one on each core, or one alone for a small model."""
    kv_dtype: str = "float16"
    """Of CPUs; a GPU's is that of its activations."""
    target: str = AUTO
    """`auto`, `cpu`, `cuda`, `metal`, or `host`: the GPUs' graph on this CPU, slow, to check them by."""


def open_engine(
    name: str | Path, options: EngineOptions | None = None, progress: Progress | None = None
) -> CompiledEngine:
    """The engine for a model's name or folder, compiled first if need be. All calls to it come from the calling thread.

    Raises ModelMissing, ModelInvalid, BuildFailed, LibraryStale, or OutOfMemory before anything large is loaded.
    """
    options, say = options or EngineOptions(), progress or (lambda _phase: None)
    model = ModelFolder.open(name if isinstance(name, Path) else registry.find(name))
    vocabulary = Vocabulary.read(model.path, model.config.vocab_size)
    target = choose_target(options.target)
    if target.kind != CPU:
        try:
            return _open_on_device(model, target, options, vocabulary, say)
        except (BuildFailed, LibraryStale, OutOfMemory) as fault:
            if options.target != AUTO:
                raise
            say(f"{target.name} cannot be used ({fault.message}): taking the CPU")
            target = choose_target(CPU)
    library = ensure_library(model.config, model.quantization, target, options.kv_dtype, progress)
    n_threads = options.n_threads or (1 if packed_bytes(library) < FEW_BYTES else target.n_threads)
    page_tokens = library.layout.page_tokens
    kv_tokens = _kv_tokens(model, library, options.kv_cache_tokens)
    n_pages = -(-kv_tokens // page_tokens) + 1
    context_tokens = min(options.context_tokens, kv_tokens, model.config.context_tokens)
    say("loading weights")
    weights = load_weights(model, library, n_threads)
    config = replace(model.config, context_tokens=context_tokens)
    runtime = Runtime(library, config, rope_tables(config), n_pages, n_threads)
    adapters = Adapters(config, TableBinding(library, config, weights), options.adapter_bytes)
    served = _describe(model, config, f"cpu ({target.isa.value}, {n_threads} thread{'s' if n_threads > 1 else ''})")
    return CompiledEngine(served, runtime, adapters, vocabulary)


def _open_on_device(
    model: ModelFolder, target: Target, options: EngineOptions, vocabulary: Vocabulary, say: Progress
) -> CompiledEngine:
    library = ensure_library(model.config, model.quantization, target, progress=say)
    say("loading weights")
    runtime, adapters, config = load_on_device(
        model,
        library,
        kv_tokens=options.kv_cache_tokens,
        context_tokens=options.context_tokens,
        adapter_bytes=options.adapter_bytes,
    )
    return CompiledEngine(_describe(model, config, target.name), runtime, adapters, vocabulary)


def _describe(model: ModelFolder, config: DecoderConfig, device: str) -> EngineModel:
    return EngineModel(
        name=model.path.name,
        base_hash=model.base_hash,
        folder=model.path,
        context_tokens=config.context_tokens,
        vocab_size=config.vocab_size,
        quantization=model.quantization.name,
        device=device,
        details={"family": config.family, "layers": str(config.n_layers), "hidden": str(config.hidden_size)},
    )


def _kv_tokens(model: ModelFolder, library: Library, wanted: int | None) -> int:
    """How many tokens the KV cache gets. Raises OutOfMemory if it, weights and working memory would not fit into what is free."""
    weights, free = packed_bytes(library), psutil.virtual_memory().available
    each = token_bytes(model.config, library.kv_dtype)
    fitting = (free - weights - WORKING_BYTES) // 2 // each
    tokens = wanted if wanted is not None else max(min(KV_TOKENS, fitting), LEAST_KV_TOKENS)
    needed = weights + tokens * each + WORKING_BYTES
    if needed > free:
        parts = f"weights {weights >> 20} MB, KV cache {tokens * each >> 20} MB, the rest {WORKING_BYTES >> 20} MB"
        raise OutOfMemory(
            f"{model.path.name} needs {needed >> 20} MB of memory ({parts}); {free >> 20} MB are free",
            "close something, or import a smaller model or one with --quantization q4f16_1",
        )
    return tokens
