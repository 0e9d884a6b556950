"""How tensors lie in memory for the kernels: shapes that parameters, kernels and `library.json` share.

A linear's weight `[N, K]` is cut in blocks of 32 outputs and groups of 32 inputs and lies as
`[N/32, K/32, words, 32]`: one row of 32 lanes holds, for 32 outputs, the same few inputs.

- int8: 8 words a group, each int32 word four consecutive inputs, lowest byte first.
- int4: 4 words a group; the low nibbles of word `w` are inputs `8w .. 8w+3`, its high nibbles `8w+4 .. 8w+7`.
- float: 32 "words" a group, each one input.

Bytes hold `q + weight_offset` (x86's dot product wants one unsigned side), nibbles `q + 7` as MLC stores
them: 15 stands for 8, which MLC never writes, and llama.cpp's Q4_0 with its sign turned does. Scales lie as
`[N/32, K/32, 32]`. An adapter's A `[rank, K]` and B `[N, rank]` lie the same way, with blocks of 16 ranks as outputs of
A and groups of 16 ranks as inputs of B, the blocks of ranks outermost: `[rank/16, parts, K/32, words, 16]` and
`[rank/16, N/32, words, 32]`. In a library of integers both are int8 with a float32 scale per group.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_runtime.tvm.build.isa import Instructions
from local_runtime.errors import BuildFailed
from local_runtime.model.quantization import GROUP_SIZE, Quantization

OUTPUT_BLOCK = 32
"""Outputs of a linear that one task computes together."""
RANK_BLOCK = 16
"""An adapter's rank is padded to a multiple of this."""
MAX_RANK = 64
PAGE_TOKENS = 32
"""Tokens in a page of the KV pool."""

Shape = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """How values of one matrix are stored: `bits` 4 or 8 (integers), 16 or 32 (floats)."""

    bits: int
    float_dtype: str
    group: int
    """Inputs that share a scale."""
    block: int
    """Outputs side by side."""
    offset: int
    """Added to every integer before it is stored."""

    @property
    def integer(self) -> bool:
        """Whether values are integers with scales."""
        return self.bits < 16

    @property
    def dtype(self) -> str:
        """dtype of the words."""
        return "int32" if self.integer else self.float_dtype

    @property
    def words(self) -> int:
        """Words of one group of one output."""
        return self.group * self.bits // 32 if self.integer else self.group

    @property
    def activation_words(self) -> int:
        """Words of one group of activations, which are int8 or float32."""
        return self.group // 4 if self.integer else self.group

    @property
    def activation_dtype(self) -> str:
        """dtype of the words of activations."""
        return "int32" if self.integer else "float32"


def weight_layout(quantization: Quantization, isa: Instructions) -> PackedLayout:
    """Layout of the weights of all linears."""
    offset = {4: quantization.max_int, 8: isa.byte_offset}.get(quantization.bits, 0)
    return PackedLayout(quantization.bits, quantization.float_dtype, GROUP_SIZE, OUTPUT_BLOCK, offset)


def adapter_layouts(quantization: Quantization, isa: Instructions) -> tuple[PackedLayout, PackedLayout]:
    """Layouts of A and of B: int8 beside integers, at the speed of bytes; floats beside floats, exact."""
    bits, offset = (8, isa.byte_offset) if quantization.grouped else (quantization.bits, 0)
    dtype = "float32" if quantization.grouped else quantization.float_dtype  # scales of a young B are tiny
    a = PackedLayout(bits, dtype, GROUP_SIZE, RANK_BLOCK, offset)
    return a, PackedLayout(bits, dtype, RANK_BLOCK, OUTPUT_BLOCK, offset)


def padded(n: int, multiple: int = OUTPUT_BLOCK) -> int:
    """`n` rounded up to a multiple."""
    return -(-n // multiple) * multiple


def check_inputs(k: int) -> None:
    """Raise BuildFailed unless a linear's inputs fill whole groups."""
    if k % GROUP_SIZE:
        raise BuildFailed(
            f"a linear has {k} inputs, which is not a multiple of {GROUP_SIZE}: no kernel for such a shape"
        )
