"""What a model takes on a GPU, checked before anything is copied there, then loaded."""

from __future__ import annotations

from dataclasses import replace

import psutil

from local_runtime.errors import OutOfMemory
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.model_folder import ModelFolder
from local_runtime.tvm.run.adapters import Adapters
from local_runtime.tvm.run.device import Device
from local_runtime.tvm.run.gpu_binding import DeviceBinding, device_bytes
from local_runtime.tvm.run.gpu_runtime import GpuRuntime
from local_runtime.tvm.run.library import Library
from local_runtime.tvm.run.rope import rope_tables
from local_runtime.tvm.run.runtime import token_bytes

WORKING_BYTES = 600 << 20
"""What a device needs beside weights and KV cache: activations, logits of a verification, the driver's own."""
KV_TOKENS, LEAST_KV_TOKENS = 16384, 2048


def load_on_device(
    model: ModelFolder, library: Library, *, kv_tokens: int | None, context_tokens: int, adapter_bytes: int
) -> tuple[GpuRuntime, Adapters, DecoderConfig]:
    """The functions over a KV cache, the adapters, and the decoder with the context it got.

    A model with a sliding window gets no longer context than the window: within it every token sees all before it, which is
    what the cache computes. Raises LibraryStale or OutOfMemory.
    """
    device = Device(library.target_kind)
    machine = device.load(library)
    tokens = _kv_tokens(model, library, device, kv_tokens)
    window = model.config.sliding_window or tokens
    config = replace(model.config, context_tokens=min(context_tokens, tokens, window, model.config.context_tokens))
    size = library.layout.page_tokens
    adapters = Adapters(config, DeviceBinding(library, device, model), adapter_bytes)
    runtime = GpuRuntime(machine, library, device, rope_tables(config), -(-tokens // size) + 1)
    return runtime, adapters, config


def _kv_tokens(model: ModelFolder, library: Library, device: Device, wanted: int | None) -> int:
    """How many tokens the KV cache gets. Raises OutOfMemory if it would not fit into what the device has free."""
    weights, each = device_bytes(library), token_bytes(model.config, library.kv_dtype)
    free = device.free_bytes() or psutil.virtual_memory().available
    fitting = (free - weights - WORKING_BYTES) // 2 // each
    tokens = wanted if wanted is not None else max(min(KV_TOKENS, fitting), LEAST_KV_TOKENS)
    needed = weights + tokens * each + WORKING_BYTES
    if needed > free:
        raise OutOfMemory(
            f"{model.path.name} needs {needed >> 20} MB on the {device.kind} device; {free >> 20} MB are free",
            'close something, import a smaller model or one with --quantization q4f16_1, or set target = "cpu"',
        )
    return tokens
