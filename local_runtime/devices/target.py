"""The device that code is compiled for and runs on. The one place that knows it; imports no compiler.

x86-64 levels: https://gitlab.com/x86-psABIs/x86-64-ABI (v3: AVX2, FMA, F16C; v4: AVX-512 F, BW, CD, DQ, VL).
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

import psutil

from local_runtime.devices import cuda_parts
from local_runtime.devices.proven import is_proven
from local_runtime.errors import BuildFailed

AUTO, CPU, CUDA, METAL, HOST = "auto", "cpu", "cuda", "metal", "host"
"""Kinds of targets. `host` is the GPUs' graph compiled for this CPU in float32: slow, and how its numerics are checked."""


class Isa(StrEnum):
    """How four products of bytes are summed into 32 bits, best first."""

    AVX512VNNI = "avx512vnni"
    AVX2VNNI = "avx2vnni"
    AVX2 = "avx2"
    NEON = "neon"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Target:
    """What the compiler needs to know about a device. Everything but `n_threads` shapes the code."""

    kind: str
    """`cpu`, `cuda`, `metal` or `host`."""
    isa: Isa
    triple: str
    """LLVM's target triple."""
    mcpu: str
    """LLVM's name of the CPU, or of a level that many CPUs share."""
    mattr: tuple[str, ...]
    """LLVM's names of features that come on top of `mcpu`, for example `+avx512vnni`."""
    n_threads: int
    """Threads that compute, the caller's own among them."""
    arch: str = ""
    """Of an NVIDIA GPU: `sm_89`."""

    @property
    def name(self) -> str:
        """As a user reads it."""
        detail = {CPU: self.isa.value, CUDA: self.arch}.get(self.kind)
        return f"{self.kind} ({detail})" if detail else self.kind

    def key_parts(self) -> dict[str, str]:
        """What tells one target's code from another's, for the key of a compiled library."""
        return {
            "kind": self.kind,
            "isa": self.isa.value,
            "triple": self.triple,
            "mcpu": self.mcpu,
            "mattr": ",".join(self.mattr),
            "arch": self.arch,
        }


def detect() -> Target:
    """The target of this process: this CPU, and the cores it may use."""
    return cpu_target(cpu_features(), sys.platform, platform.machine(), usable_cores())


def choose_target(kind: str = AUTO, arch: str | None = None) -> Target:
    """The target of a kind on this machine; for `auto` the GPU if it has passed `understudy doctor --run`, else the CPU.

    `arch` names another NVIDIA GPU than the one here, to compile for. Raises BuildFailed for a device that is not here.
    """
    here = detect()
    if kind == AUTO:  # a small file says what was proven; without it no driver is asked
        kind = next((gpu for gpu in (METAL, CUDA) if is_proven(gpu) and best_kind() == gpu), CPU)
    if kind == METAL:  # also from elsewhere: the source can be written anywhere
        return replace(_arm_target((), "darwin", here.n_threads, None), kind=METAL)
    if kind == CUDA:
        return replace(here, kind=CUDA, arch=_arch_of(arch))
    return replace(here, kind=kind)


def best_kind() -> str:
    """The best kind of device that is here, with all that it needs: Metal on Apple silicon, CUDA, else the CPU."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return METAL
    gpu = cuda_parts.find_gpu()
    return CUDA if gpu is not None and gpu.supported and not cuda_parts.missing_parts() else CPU


def _arch_of(arch: str | None) -> str:
    """The NVIDIA GPU to compile for: the one named, or the one here."""
    if arch is None:
        gpu = cuda_parts.find_gpu()
        if gpu is None:
            raise BuildFailed("there is no NVIDIA GPU here", "understudy doctor    (or name one: --arch sm_89)")
        arch = gpu.arch
    number = arch.removeprefix("sm_")
    if not (arch != number and number.isdecimal() and cuda_parts.OLDEST <= int(number) <= cuda_parts.NEWEST):
        raise BuildFailed(f"{arch}: CUDA code is made for GPUs from sm_75 to sm_90", "add --target cpu")
    return arch


def cpu_target(features: Collection[str], system: str, machine: str, n_threads: int, isa: Isa | None = None) -> Target:
    """The target of a CPU.

    `features` are archspec's names, `system` is `sys.platform`, `machine` is `platform.machine()`. `isa` takes an older
    instruction set than the best one, which is how every one that this machine can run is tested.
    """
    if machine.lower() in ("arm64", "aarch64"):
        return _arm_target(features, system, n_threads, isa)
    isa = isa or _best_x86(features)
    mcpu, mattr = {
        Isa.AVX512VNNI: ("x86-64-v4", ("+avx512vnni",)),
        Isa.AVX2VNNI: ("x86-64-v3", ("+avxvnni",)),
        Isa.AVX2: ("x86-64-v3", ()),
        Isa.GENERIC: ("x86-64-v2", ()),
    }[isa]
    triple = "x86_64-apple-darwin" if system == "darwin" else "x86_64-linux-gnu"
    return Target("cpu", isa, triple, mcpu, mattr, n_threads)


def _best_x86(features: Collection[str]) -> Isa:
    have = set(features)
    if not have >= {"avx2", "fma", "f16c", "bmi2"}:
        return Isa.GENERIC
    if have >= {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}:
        return Isa.AVX512VNNI
    return Isa.AVX2VNNI if "avx_vnni" in have else Isa.AVX2


def _arm_target(features: Collection[str], system: str, n_threads: int, isa: Isa | None) -> Target:
    if system == "darwin":  # every Apple chip since the M1 has dot products and half floats
        return Target("cpu", isa or Isa.NEON, "arm64-apple-darwin", "apple-m1", (), n_threads)
    mattr = tuple(
        attribute for feature, attribute in (("asimddp", "+dotprod"), ("asimdhp", "+fullfp16")) if feature in features
    )
    best = Isa.NEON if "+dotprod" in mattr else Isa.GENERIC
    return Target("cpu", isa or best, "aarch64-linux-gnu", "generic", mattr, n_threads)


def cpu_features() -> frozenset[str]:
    """What this CPU can do, in archspec's names."""
    from archspec.cpu import detect as archspec_detect  # noqa: PLC0415 (reads its CPU database: 10 ms)

    return frozenset(archspec_detect.detected_info().features)


def usable_cores() -> int:
    """Physical cores that this process may run on: a second thread on one core slows a kernel down."""
    physical = psutil.cpu_count(logical=False) or 1
    if sys.platform == "linux":
        return max(1, min(physical, len(os.sched_getaffinity(0))))
    return physical
