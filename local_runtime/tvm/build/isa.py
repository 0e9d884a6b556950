"""One vector of "sum of four products of bytes into int32", written for each instruction set.

Weights are unsigned on x86 (`vpdpbusd` wants one unsigned side), activations signed. The offset of the weights is
undone exactly with the group's sum of activations: sum(w * a) = sum((w + offset) * a) - offset * sum(a).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T
from tvm.target import codegen

from local_runtime.tvm.build.vectors import Vector, broadcast, intrinsic
from local_runtime.devices.target import Isa


@dataclass(frozen=True, slots=True)
class Instructions:
    """What kernels need to know of an instruction set."""

    isa: Isa
    lanes: int
    """32-bit lanes of a vector register."""
    byte_offset: int
    """Added to int8 weights when they are packed."""
    tile_rows: int
    """Rows of activations whose accumulators are kept in registers."""
    tile_vectors: int
    """Vectors of outputs beside them."""

    def begin(self, bits: int, offset: int, group_sum: Any) -> Vector:
        """A group's accumulator: what undoes the offset, where it has room for it."""
        if self._narrow(bits):
            return broadcast(T.int32(0), self.lanes)
        return broadcast(group_sum * (-offset), self.lanes)

    def dot(self, bits: int, acc: Vector, weights: Vector, activations: Any) -> Vector:
        """`acc` plus four products a lane; `activations` is one int32 word of four int8, `weights` a word a lane."""
        n = self.lanes
        i32, i16, i8 = f"int32x{n}", f"int16x{2 * n}", f"int8x{4 * n}"
        a = broadcast(activations, n)
        if self.isa in (Isa.AVX512VNNI, Isa.AVX2VNNI):
            name = f"llvm.x86.avx512.vpdpbusd.{32 * n}"
            if codegen.llvm_version_major() >= 22:  # its operands became bytes
                return intrinsic(i32, name, acc, T.reinterpret(f"uint8x{4 * n}", weights), T.reinterpret(i8, a))
            return intrinsic(i32, name, acc, weights, a)
        w, a8 = T.reinterpret(i8, weights), T.reinterpret(i8, a)
        if self.isa is Isa.NEON:
            return intrinsic(i32, "llvm.aarch64.neon.sdot.v4i32.v16i8", acc, w, a8)
        if self.isa is Isa.AVX2:
            if self._narrow(bits):
                pairs = intrinsic(i16, "llvm.x86.avx2.pmadd.ub.sw", w, a8)
                return T.reinterpret(i32, T.reinterpret(i16, acc) + pairs)
            # |w| * (a * sign(w)): pairs never saturate int16 for magnitudes up to 127
            signed = intrinsic(i8, "llvm.x86.avx2.psign.b", a8, w)
            magnitude = intrinsic(i8, "llvm.abs", w, T.bool(False))
            pairs = intrinsic(i16, "llvm.x86.avx2.pmadd.ub.sw", magnitude, signed)
            return acc + intrinsic(i32, "llvm.x86.avx2.pmadd.wd", pairs, broadcast(T.int16(1), 2 * n))
        total = acc
        for byte in range(4):
            up = T.int32(24 - 8 * byte)
            w_byte = T.shift_right(T.shift_left(weights, broadcast(up, n)), broadcast(T.int32(24), n))
            total = total + w_byte * broadcast(T.shift_right(T.shift_left(activations, up), T.int32(24)), n)
        return total

    def end(self, bits: int, offset: int, acc: Vector, group_sum: Any) -> Vector:
        """The group's dot products, int32."""
        if not self._narrow(bits):
            return acc
        n = self.lanes
        ones = broadcast(T.int16(1), 2 * n)
        wide = intrinsic(f"int32x{n}", "llvm.x86.avx2.pmadd.wd", T.reinterpret(f"int16x{2 * n}", acc), ones)
        return wide - broadcast(group_sum * offset, n)

    def _narrow(self, bits: int) -> bool:
        """AVX2, 4 bits: eight pairs of at most 2 * 15 * 127 fit int16, so they are widened once a group."""
        return self.isa is Isa.AVX2 and bits == 4


def instructions(isa: Isa) -> Instructions:
    """The instruction set of that name."""
    return {
        Isa.AVX512VNNI: Instructions(isa, lanes=16, byte_offset=128, tile_rows=6, tile_vectors=2),
        Isa.AVX2VNNI: Instructions(isa, lanes=8, byte_offset=128, tile_rows=4, tile_vectors=2),
        Isa.AVX2: Instructions(isa, lanes=8, byte_offset=0, tile_rows=4, tile_vectors=1),
        Isa.NEON: Instructions(isa, lanes=4, byte_offset=0, tile_rows=4, tile_vectors=4),
        Isa.GENERIC: Instructions(isa, lanes=8, byte_offset=0, tile_rows=2, tile_vectors=2),
    }[isa]
