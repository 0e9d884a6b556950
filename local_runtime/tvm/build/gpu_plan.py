"""What a library for GPUs is given: MLC's tensors as they are, and an adapter's A and B of each linear."""

from __future__ import annotations

from local_runtime.tvm.run.library import BuildRequest, Parameter
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import stored_tensors

ADAPTER_RANK = 64
"""Adapters are padded to this rank: TVM's schedules for one row know no size that is told at run time."""


def gpu_parameters(request: BuildRequest) -> tuple[Parameter, ...]:
    """All parameters in the order of a call's list; activations, scales and adapters are what keys and values are.

    `X.lora_a [parts * ADAPTER_RANK, k]` has the A of the fused parts of linear X one below the other, `X.lora_b
    [n, parts * ADAPTER_RANK]` their B in blocks along the diagonal.
    """
    dtype = request.kv_dtype
    parameters: list[Parameter] = []
    for fused in fused_tensors(request.config):
        sizes = tuple(part.stop - part.start for part in fused.parts)
        for name, (shape, stored) in stored_tensors(fused, request.quantization).items():
            parameters.append(Parameter(name, shape, stored if stored == "uint32" else dtype, sizes))
        if fused.takes_adapter:
            stem, (n, k), rank = fused.name.removesuffix("weight"), fused.shape, len(sizes) * ADAPTER_RANK
            parameters.append(Parameter(f"{stem}lora_a", (rank, k), dtype, sizes))
            parameters.append(Parameter(f"{stem}lora_b", (n, rank), dtype, sizes))
    return tuple(parameters)
