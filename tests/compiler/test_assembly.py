"""Code for machines that this one is not, checked by its assembly; objects for macOS and Linux on arm64."""

from __future__ import annotations

from pathlib import Path

import pytest
from assembly import DOT_PRODUCTS, assembly_of

from local_runtime.devices.target import Isa, Target, cpu_target
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.tvm.build.build import compile_decoder
from local_runtime.tvm.build.isa import instructions
from local_runtime.tvm.build.plan import Plan

CONFIG = DecoderConfig("llama", 128, 256, 2, 4, 2, 32, 1000, 512)
TARGETS = {
    "macos-arm64": cpu_target(set(), "darwin", "arm64", 4),
    "linux-arm64": cpu_target({"asimddp", "asimdhp"}, "linux", "aarch64", 4),
    "linux-avx512": cpu_target(set(), "linux", "x86_64", 4, Isa.AVX512VNNI),
    "linux-avx2": cpu_target(set(), "linux", "x86_64", 4, Isa.AVX2),
}
OBJECT_MAGIC = {"macos-arm64": b"\xcf\xfa\xed\xfe", "linux-arm64": b"\x7fELF"}


@pytest.mark.parametrize("name", TARGETS)
def test_dot_products_become_instructions(name: str, tmp_path: Path) -> None:
    target: Target = TARGETS[name]
    plan = Plan(CONFIG, QUANTIZATIONS["q4f16_1"], instructions(target.isa), "float16")
    executable = compile_decoder(plan, target)
    assembly = assembly_of(executable)
    assert assembly.count(DOT_PRODUCTS[target.isa]) > 200
    # scratch is taken once a call; the loops that are parallel, where the time goes, take none but attention's tile
    for label, text in assembly.functions().items():
        if "compute_lambda" in label and DOT_PRODUCTS[target.isa] in text:
            assert "TVMBackendAllocWorkspace" not in text, label
    if name in OBJECT_MAGIC:
        file = tmp_path / "decoder.o"
        (code,) = (module for module in executable.mod.imports if module.kind == "llvm")
        code.write_to_file(str(file))
        assert file.read_bytes().startswith(OBJECT_MAGIC[name])
