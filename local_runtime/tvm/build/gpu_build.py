"""From a decoder's shape to a library for a GPU: host code and device code in one file, or the device code's source.

Limits of threads and shared memory are those that every device of a kind has: compute capability 7.5 to 9.0 (CUDA C++
Programming Guide, table of technical specifications), Apple's GPU families 7 and later (Metal feature set tables).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm.support import nvcc

from local_runtime.devices import cuda_parts
from local_runtime.tvm.build.gpu_decoder import decoder_graph
from local_runtime.tvm.build.gpu_plan import ADAPTER_RANK, gpu_parameters
from local_runtime.tvm.build.linker import Linker, link
from local_runtime.tvm.build.macros import quick_macros
from local_runtime.errors import BuildFailed
from local_runtime.tvm.run.library import LIBRARY_FILE, SOURCE_FILE, BuildRequest, Layout, Parameter
from local_runtime.devices.target import CUDA, HOST, Target

PAGE_TOKENS = 16
THREADS = {"max_threads_per_block": 1024, "max_num_threads": 1024, "thread_warp_size": 32}
SHARED_BYTES = {"cuda": 48 << 10, "metal": 32 << 10}


def gpu_target(target: Target) -> Any:
    """TVM's name for a target with a GPU; for `host`, for this CPU alone."""
    host = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.mcpu, "mattr": list(target.mattr)}
    if target.kind == HOST:
        return tvm.target.Target(host | {"num-cores": target.n_threads})
    device: dict[str, Any] = {"kind": target.kind, "max_shared_memory_per_block": SHARED_BYTES[target.kind]} | THREADS
    return tvm.target.Target(device | ({"arch": target.arch} if target.kind == CUDA else {}), host=host)


def compile_gpu_decoder(request: BuildRequest, parameters: tuple[Parameter, ...]) -> Any:
    """TVM's executable of a decoder. Raises BuildFailed with the words of a compiler that fails."""
    target = gpu_target(request.target)
    tvm_ffi.register_global_func("tvm_callback_cuda_compile", device_code, override=True)
    try:
        with quick_macros(), target:
            graph = decoder_graph(request.config, request.quantization, request.kv_dtype, target, parameters)
            return tvm.compile(graph, target=target)
    except (RuntimeError, ValueError, AssertionError, tvm.error.InternalError) as problem:
        words = [line for line in str(problem).splitlines() if line.strip()][-1:]
        raise BuildFailed(f"no {request.target.kind} code for this shape: {' '.join(words)}") from problem


def device_code(source: str) -> bytes:
    """CUDA C++ to machine code, for TVM. Its own way to NVRTC does not look where PyPI's wheels keep CUDA's C++ library."""
    if cuda_parts.device_compiler() == "nvcc":
        return bytes(nvcc.compile_cuda(source, target_format="fatbin", compiler="nvcc"))
    wheels = cuda_parts.wheel_folder()
    assert wheels is not None
    os.environ["CUDA_PATH"] = str(wheels)
    for part in (wheels / "lib").glob("libnvrtc-builtins.so.*"):  # NVRTC looks for it by its name alone
        ctypes.CDLL(str(part))
    options = [f"-I{wheels}/include/cccl"]
    return bytes(nvcc.compile_cuda(source, target_format="cubin", options=options, compiler="nvrtc"))


def build_library(
    request: BuildRequest, linker: Linker, folder: Path, progress: Callable[[str], None]
) -> tuple[Layout, tuple[Parameter, ...]]:
    """Write `model.so` to `folder`, and return what belongs into its description.

    `progress` is told each phase before it begins. Raises BuildFailed for a shape without kernels, parts that are missing
    and a linker that fails, OSError when the disk is full.
    """
    apple = "apple" in request.target.triple
    if apple and sys.platform != "darwin":
        raise BuildFailed("code for Macs is linked on a Mac", "add --source FILE to read the kernels here")
    if request.target.kind == CUDA:
        _require_cuda()
    parameters = gpu_parameters(request)
    progress(f"writing {request.target.kind} code")
    executable = compile_gpu_decoder(request, parameters)
    progress("linking")

    def link_objects(output: str, objects: list[str], _options: object = None, **_: object) -> None:
        link(linker, [Path(o) for o in objects], Path(output), apple=apple)

    executable.export_library(str(folder / LIBRARY_FILE), fcompile=link_objects, workspace_dir=str(folder))
    return describe_layout(request), parameters


def write_source(
    request: BuildRequest, linker: Linker, folder: Path, progress: Callable[[str], None]
) -> tuple[Layout, tuple[Parameter, ...]]:
    """Write `device.source` to `folder` in place of a library, which no device, driver or device compiler is needed for."""
    parameters = gpu_parameters(request)
    progress(f"writing {request.target.kind} code")
    (folder / SOURCE_FILE).write_text(device_source(compile_gpu_decoder(request, parameters)))
    return describe_layout(request), parameters


def device_source(executable: Any) -> str:
    """The source of all kernels, in CUDA C++ or in Metal's language; empty for the host."""
    return "\n".join(module.inspect_source() for module in modules(executable.mod) if module.kind in SHARED_BYTES)


def modules(module: Any) -> Iterator[Any]:
    """A module and all that it imports."""
    yield module
    for imported in module.imports:
        yield from modules(imported)


def describe_layout(request: BuildRequest) -> Layout:
    """What a loader needs to know: weights are MLC's own, adapters floats of one rank."""
    quantization, dtype = request.quantization, request.kv_dtype
    return Layout(
        bits=quantization.bits,
        float_dtype=dtype,
        group=32,
        block=1,
        offset=quantization.max_int if quantization.grouped else 0,
        adapter_bits=8 * (4 if dtype == "float32" else 2),
        adapter_offset=0,
        rank_block=ADAPTER_RANK,
        max_rank=ADAPTER_RANK,
        page_tokens=PAGE_TOKENS,
    )


def _require_cuda() -> None:
    """TVM makes no device code without them, and says nothing."""
    for what, remedy in cuda_parts.missing_parts().items():
        raise BuildFailed(f"CUDA code cannot be made here: {what} is missing", remedy)
    cuda_parts.load_cuda()
