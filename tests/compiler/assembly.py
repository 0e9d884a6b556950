"""What became of the kernels: their assembly, counted. The only check of code that this machine cannot run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_runtime.devices.target import Isa

DOT_PRODUCTS = {
    Isa.AVX512VNNI: "vpdpbusd",
    Isa.AVX2VNNI: "vpdpbusd",
    Isa.AVX2: "vpmaddubsw",
    Isa.NEON: "sdot",
}
"""The instruction that an instruction set's dot products must become."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A compiled decoder's text."""

    text: str

    def count(self, instruction: str) -> int:
        """How often an instruction or a symbol is named."""
        return self.text.count(instruction)

    def functions(self) -> dict[str, str]:
        """Text of each function by its label."""
        parts: dict[str, list[str]] = {}
        current: list[str] = []
        for line in self.text.splitlines():
            label = line.partition(":")[0]
            if line and not line[0].isspace() and ":" in line and not label.startswith((".L", "L", "#", ";", "//")):
                current = parts.setdefault(label, [])
            current.append(line)
        return {name: "\n".join(lines) for name, lines in parts.items()}


def assembly_of(executable: Any) -> Assembly:
    """The assembly of TVM's executable."""
    (code,) = (module for module in executable.mod.imports if module.kind == "llvm")
    return Assembly(code.inspect_source("s"))
