"""What CUDA needs beside TVM: NVIDIA's driver, its runtime library, and a compiler of device code. Found, not installed.

The toolkit's own (nvcc) is taken where it is; else NVRTC from PyPI, `pip install 'understudy[cuda]'`: the wheels put
libraries and headers under `nvidia/cu13`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local_runtime.pip_command import install_extra

DRIVER, RUNTIME = "libcuda.so.1", "libcudart.so.13"
OLDEST, NEWEST = 75, 90
"""Compute capabilities that device code is made for: Turing to Hopper."""


@dataclass(frozen=True, slots=True)
class NvidiaGpu:
    """The first NVIDIA GPU, as the driver tells it."""

    name: str
    capability: int
    """89 for compute capability 8.9."""
    memory_bytes: int

    @property
    def arch(self) -> str:
        """What device code is compiled for."""
        return f"sm_{self.capability}"

    @property
    def supported(self) -> bool:
        """Whether device code is made for it."""
        return OLDEST <= self.capability <= NEWEST


def find_gpu() -> NvidiaGpu | None:
    """The first GPU; None without a driver or a device."""
    with suppress(OSError, AttributeError):
        driver = ctypes.CDLL(DRIVER)
        device, memory = ctypes.c_int(), ctypes.c_size_t()
        major, minor, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(128)
        faults = (
            driver.cuInit(0),
            driver.cuDeviceGet(ctypes.byref(device), 0),
            driver.cuDeviceGetName(name, len(name), device),
            driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device),  # COMPUTE_CAPABILITY_MAJOR
            driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),  # and _MINOR
            driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
        )
        if not any(faults):
            return NvidiaGpu(name.value.decode(errors="replace"), 10 * major.value + minor.value, memory.value)
    return None


def missing_parts() -> dict[str, str]:
    """What is not here, with the command that brings it; empty when CUDA code can be made and run."""
    missing = {}
    if not _loads(DRIVER):
        missing[f"NVIDIA's driver ({DRIVER})"] = "install NVIDIA's driver"
    if runtime_path() is None:
        missing[f"CUDA's runtime ({RUNTIME})"] = install_extra("cuda")
    if device_compiler() is None:
        missing["a compiler of device code (nvcc, or NVRTC from PyPI)"] = install_extra("cuda")
    return missing


def device_compiler() -> str | None:
    """`nvcc` where a toolkit is, `nvrtc` where the extra is installed."""
    if shutil.which("nvcc"):
        return "nvcc"
    wheels = wheel_folder()
    bindings = importlib.util.find_spec("cuda") is not None and importlib.util.find_spec("cuda.bindings") is not None
    has_headers = wheels is not None and (wheels / "include" / "cuda_fp16.h").exists()
    return "nvrtc" if bindings and has_headers and wheels and any((wheels / "lib").glob("libnvrtc.so.*")) else None


def wheel_folder() -> Path | None:
    """Where PyPI's wheels put CUDA 13."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(root) / "cu13").is_dir():
            return Path(root) / "cu13"
    return None


def runtime_path() -> str | None:
    """What to load as CUDA's runtime: the wheel's, or the system's by its name."""
    wheels = wheel_folder()
    if wheels is not None and (wheels / "lib" / RUNTIME).exists():
        return str(wheels / "lib" / RUNTIME)
    return RUNTIME if _loads(RUNTIME) else None


def load_cuda() -> None:
    """Load what TVM's CUDA runtime is linked against. Raises OSError."""
    ctypes.CDLL(DRIVER, ctypes.RTLD_GLOBAL)
    ctypes.CDLL(runtime_path() or RUNTIME, ctypes.RTLD_GLOBAL)


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
