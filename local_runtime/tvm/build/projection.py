"""What one linear's kernels depend on, and the shapes of their tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.activations import Front, row_width
from local_runtime.tvm.build.isa import Instructions
from local_runtime.tvm.build.layout import OUTPUT_BLOCK, RANK_BLOCK, PackedLayout, padded


@dataclass(frozen=True, slots=True)
class Projection:
    """One linear, or several fused ones side by side: equal values share their kernels."""

    isa: Instructions
    k: int
    """Inputs."""
    parts: tuple[int, ...]
    """Outputs of each of the fused linears; each has an adapter of its own."""
    front: Front
    eps: float
    weight: PackedLayout
    a: PackedLayout
    b: PackedLayout
    adapter: bool
    bias: bool
    residual: bool
    scale: float = 1.0
    """Of the outputs, before the residual is added."""

    @property
    def n_groups(self) -> int:
        """Groups of inputs."""
        return self.k // self.weight.group

    @property
    def padded_parts(self) -> tuple[int, ...]:
        """Outputs of each part, padded to whole blocks."""
        return tuple(padded(part) for part in self.parts)

    @property
    def n(self) -> int:
        """Outputs, every part padded to whole blocks."""
        return sum(self.padded_parts)

    @property
    def n_blocks(self) -> int:
        """Blocks of outputs."""
        return self.n // OUTPUT_BLOCK

    @property
    def row_width(self) -> int:
        """Width of the rows that the front reads."""
        return row_width(self.front, self.k)

    @property
    def scale_dtype(self) -> str:
        """dtype of the weight's scales."""
        return self.weight.float_dtype if self.weight.integer else "float32"

    @property
    def a_dtype(self) -> str:
        """dtype of A's words."""
        return self.a.dtype if self.adapter else "float32"

    @property
    def b_dtype(self) -> str:
        """dtype of B's words."""
        return self.b.dtype if self.adapter else "float32"

    @property
    def adapter_scale_dtype(self) -> str:
        """dtype of the adapter's scales."""
        return self.a.float_dtype if self.adapter and self.a.integer else "float32"

    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the packed weight."""
        return (self.n_blocks, self.n_groups, self.weight.words, OUTPUT_BLOCK)

    def scale_shape(self) -> tuple[int, ...]:
        """Shape of the weight's scales; one float in their place where there are none."""
        return (self.n_blocks, self.n_groups, OUTPUT_BLOCK) if self.weight.integer else (1,)

    def a_shape(self, rank_blocks: Any) -> tuple[Any, ...]:
        """Shape of the packed A of all parts."""
        return (rank_blocks, len(self.parts), self.n_groups, self.a.words, RANK_BLOCK) if self.adapter else (1,)

    def a_scale_shape(self, rank_blocks: Any) -> tuple[Any, ...]:
        """Shape of A's scales."""
        shape = (rank_blocks, len(self.parts), self.n_groups, RANK_BLOCK)
        return shape if self.adapter and self.a.integer else (1,)

    def b_shape(self, rank_blocks: Any) -> tuple[Any, ...]:
        """Shape of the packed B of all parts."""
        return (rank_blocks, self.n_blocks, self.b.words, OUTPUT_BLOCK) if self.adapter else (1,)

    def b_scale_shape(self, rank_blocks: Any) -> tuple[Any, ...]:
        """Shape of B's scales."""
        return (rank_blocks, self.n_blocks, OUTPUT_BLOCK) if self.adapter and self.b.integer else (1,)

    def words_shape(self, n_rows: Any) -> tuple[Any, ...]:
        """Shape of the quantised activations."""
        return (n_rows, self.n_groups, self.weight.activation_words)

    def t_shape(self, n_rows: Any, rank_blocks: Any) -> tuple[Any, ...]:
        """Shape of the quantised products with A."""
        groups = len(self.parts) * rank_blocks if self.adapter else 1
        return (n_rows, groups, self.b.activation_words)

    def part_of(self, block: Any) -> Any:
        """Which of the fused linears an output block belongs to."""
        part, edge = T.int64(0), 0
        for size in self.padded_parts[:-1]:
            edge += size // OUTPUT_BLOCK
            part = part + T.cast(block >= edge, "int64")
        return part
