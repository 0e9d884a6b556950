"""Which instructions a CPU gets."""

from __future__ import annotations

import pytest

from local_runtime.devices.target import Isa, cpu_target, detect

V3 = {"avx2", "fma", "f16c", "bmi2"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("features", "system", "machine", "isa"),
    [
        (V4 | {"avx512_vnni", "avx_vnni"}, "linux", "x86_64", Isa.AVX512VNNI),
        (V4 | {"avx_vnni"}, "linux", "x86_64", Isa.AVX2VNNI),
        (V4, "linux", "x86_64", Isa.AVX2),
        (V3, "darwin", "x86_64", Isa.AVX2),
        ({"avx2"}, "linux", "x86_64", Isa.GENERIC),
        (set(), "darwin", "arm64", Isa.NEON),
        ({"asimddp"}, "linux", "aarch64", Isa.NEON),
        (set(), "linux", "aarch64", Isa.GENERIC),
    ],
)
def test_best_instructions(features: set[str], system: str, machine: str, isa: Isa) -> None:
    target = cpu_target(features, system, machine, 4)
    assert target.isa is isa
    assert ("apple" in target.triple) == (system == "darwin")


def test_threads_are_no_part_of_the_code() -> None:
    assert cpu_target(V3, "linux", "x86_64", 2).key_parts() == cpu_target(V3, "linux", "x86_64", 8).key_parts()


def test_this_machine() -> None:
    target = detect()
    assert target.kind == "cpu"
    assert target.n_threads >= 1
