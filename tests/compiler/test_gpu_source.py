"""Code for GPUs, made without one: its text is read, and device code is made where there is something to make it with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from local_runtime.cli.command import understudy
from local_runtime.devices import cuda_parts
from local_runtime.devices.proven import remember
from local_runtime.devices.target import CPU, CUDA, HOST, METAL, best_kind, choose_target
from local_runtime.errors import BuildFailed
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.tvm.build.gpu_build import SHARED_BYTES
from local_runtime.tvm.build.gpu_plan import ADAPTER_RANK, gpu_parameters
from local_runtime.tvm.build.linker import find_linker
from local_runtime.tvm.run.library import BuildRequest, ensure_library, library_key

TINY = DecoderConfig("llama", 128, 256, 1, 4, 2, 32, 500, 512, tied_embeddings=True)
Q4 = QUANTIZATIONS["q4f16_1"]
MOST_BUFFERS = 31
"""Of a Metal kernel: Metal feature set tables."""
SCALAR_BYTES = {"half": 2, "float": 4, "int": 4, "uint": 4, "long": 8, "bool": 1, "char": 1, "uchar": 1}


def request(kind: str, quantization: str = "q4f16_1") -> BuildRequest:
    target = choose_target(kind, "sm_89" if kind == CUDA else None)
    return BuildRequest(TINY, QUANTIZATIONS[quantization], target, QUANTIZATIONS[quantization].float_dtype)


def kernels_of(source: str) -> dict[str, str]:
    """Metal kernels by name."""
    texts = re.split(r"(?=^kernel void )", source, flags=re.M)[1:]
    return {text.split("(", 1)[0].removeprefix("kernel void ").strip(): text for text in texts}


def test_metal_kernels_are_such_as_every_apple_gpu_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Through the command: `model compile --target metal --source FILE`."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    write_folder(tmp_path / "source", TINY)
    import_model(tmp_path / "source", Q4, "tiny")
    file = tmp_path / "tiny.metal"
    done = CliRunner().invoke(understudy, ["model", "compile", "tiny", "--target", METAL, "--source", str(file)])
    assert done.exit_code == 0, done.output
    source = file.read_text()
    kernels = kernels_of(source)
    assert len(kernels) == source.count("kernel void ") > 40  # each once
    for wanted in (
        "batch_prefill_paged_kv",
        "batch_decode_paged_kv",
        "rotate",
        "lora_a",
        "lora_b",
        "argmax",
        "rms_norm",
    ):
        assert any(wanted in name for name in kernels), wanted
    assert "double" not in source
    assert "undefined" not in source
    assert source.count("half") > 300
    assert source.count("{") == source.count("}")
    for name, text in kernels.items():
        assert max(map(int, re.findall(r"\[\[ buffer\((\d+)\) \]\]", text))) < MOST_BUFFERS, name
        shared = re.findall(r"^\s*threadgroup (\w+?)(\d?) \w+\[(\d+)\]", text, re.M)
        used = sum(SCALAR_BYTES[scalar] * int(lanes or 1) * int(count) for scalar, lanes, count in shared)
        assert used <= SHARED_BYTES[METAL], name
    assert any("threadgroup " in text for text in kernels.values())


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac links its own")
def test_a_mac_library_is_linked_on_a_mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    with pytest.raises(BuildFailed, match="linked on a Mac") as failed:
        ensure_library(TINY, Q4, choose_target(METAL))
    assert failed.value.remedy == "add --source FILE to read the kernels here"


def test_what_cuda_lacks_is_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    missing = cuda_parts.missing_parts()
    if not missing:
        pytest.skip("all of CUDA is here")
    with pytest.raises(BuildFailed, match="CUDA code cannot be made here") as failed:
        ensure_library(TINY, Q4, choose_target(CUDA, "sm_89"))
    assert failed.value.remedy in missing.values()


@pytest.mark.slow
@pytest.mark.skipif(
    cuda_parts.device_compiler() is None or cuda_parts.runtime_path() is None or find_linker() is None,
    reason="nothing here makes CUDA code: pip install 'understudy[cuda]'",
)
def test_cuda_code_for_the_oldest_gpu_is_machine_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TVM puts source into the library when something is missing, and says nothing.

    Where there is no driver, a library with its names stands in for it: TVM is linked against it, and calls none of them.
    """
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    if any(cuda_parts.DRIVER in part for part in cuda_parts.missing_parts()):
        monkeypatch.setenv("LD_LIBRARY_PATH", f"{stand_in_driver(tmp_path)}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    library = ensure_library(TINY, Q4, choose_target(CUDA, "sm_75")).path.read_bytes()
    fatbin, cubin = b"\x50\xed\x55\xba", b"\x7fELF\x02\x01\x01"
    assert fatbin in library or library.count(cubin) > 1
    assert b"__global__" not in library


def stand_in_driver(tmp_path: Path) -> Path:
    """A folder with a `libcuda.so.1` whose functions all fail."""
    names = "DeviceGetName FuncSetAttribute GetErrorName GetErrorString LaunchKernelEx ModuleGetFunction ModuleLoadData"
    code, folder, linker = tmp_path / "driver.c", tmp_path / "driver", find_linker()
    functions = [
        f"int cu{name}(void) {{ return 100; }}" for name in f"{names} ModuleUnload TensorMapEncodeTiled".split()
    ]
    code.write_text("\n".join(functions))
    folder.mkdir()
    assert linker is not None
    subprocess.run([*linker.command, "-shared", "-fPIC", "-o", folder / cuda_parts.DRIVER, code], check=True)
    return folder


def test_a_gpu_is_part_of_the_key() -> None:
    keys = {library_key(request(kind))[0] for kind in (CPU, HOST, CUDA, METAL)}
    assert len(keys) == 4
    other = BuildRequest(TINY, Q4, choose_target(CUDA, "sm_75"), "float16")
    assert library_key(other)[0] not in keys


def test_no_gpu_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_parts, "find_gpu", lambda: None)
    with pytest.raises(BuildFailed, match="no NVIDIA GPU here"):
        choose_target(CUDA)
    for arch in ("sm_70", "sm_100", "ada", "sm_89; rm"):
        with pytest.raises(BuildFailed, match="sm_75 to sm_90"):
            choose_target(CUDA, arch)


def test_auto_takes_what_is_whole_and_proven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    gpu = cuda_parts.NvidiaGpu("card", 89, 24 << 30)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cuda_parts, "find_gpu", lambda: gpu)
    monkeypatch.setattr(cuda_parts, "missing_parts", lambda: {"nvcc": "install it"})
    assert best_kind() == CPU
    monkeypatch.setattr(cuda_parts, "missing_parts", dict)
    assert best_kind() == CUDA
    assert choose_target().kind == CPU
    remember(CUDA, passed=True)
    assert choose_target().name == "cuda (sm_89)"
    monkeypatch.setattr(cuda_parts, "find_gpu", lambda: cuda_parts.NvidiaGpu("another card", 89, 24 << 30))
    assert choose_target().kind == CPU
    monkeypatch.setattr(cuda_parts, "find_gpu", lambda: cuda_parts.NvidiaGpu("card", 61, 8 << 30))
    assert best_kind() == CPU
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert best_kind() == METAL
    assert choose_target().kind == CPU
    remember(METAL, passed=True)
    assert choose_target().triple == "arm64-apple-darwin"
    assert choose_target().kind == METAL
    remember(METAL, passed=False)
    assert choose_target().kind == CPU


def test_parameters_are_the_folders_own_and_one_rank() -> None:
    shapes = {p.name: (p.shape, p.dtype) for p in gpu_parameters(request(CUDA))}
    qkv = "model.layers.0.self_attn.qkv_proj"
    assert shapes[f"{qkv}.q_weight"] == ((256, 16), "uint32")
    assert shapes[f"{qkv}.q_scale"] == ((256, 4), "float16")
    assert shapes[f"{qkv}.lora_a"] == ((3 * ADAPTER_RANK, 128), "float16")
    assert shapes[f"{qkv}.lora_b"] == ((256, 3 * ADAPTER_RANK), "float16")
    assert "lm_head.q_weight" not in shapes
