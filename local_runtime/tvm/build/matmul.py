"""A tile of a matrix product: a few rows of activations times one block of outputs, all sums in registers.

For each group of inputs the products of bytes are summed exactly in int32, then scaled and added to a float32 sum. An
output's sums are formed in one order whatever the number of rows, so that decode, verify and prefill agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.activations import quantize_group
from local_runtime.tvm.build.isa import Instructions
from local_runtime.tvm.build.layout import OUTPUT_BLOCK, RANK_BLOCK, PackedLayout
from local_runtime.tvm.build.projection import Projection
from local_runtime.tvm.build.vectors import as_float32, broadcast

LOW_NIBBLES = 0x0F0F0F0F


def add_group(isa: Instructions, layout: PackedLayout, rows: int, vectors: int) -> Callable[..., Any]:
    """Macro: add the products of one group of inputs to `acc [rows, vectors * lanes] float32`.

    `w [.., words, block]` and `w_scale [.., block]` are indexed by `at`, a tuple of the leading indices; `x [M, G, words]`,
    `x_scale [M, G]` and `x_sum [M, G]` by row and group `xg`. Rows beyond `last_row` repeat it. `first` is the tile's
    first lane in the block. `dots [rows, vectors * lanes] int32` is scratch.
    """
    n = isa.lanes
    bits, offset = layout.bits, layout.offset

    def lane(v: Any) -> Any:
        return T.ramp(v * n, 1, n)

    def weight(w: Any, at: tuple[Any, ...], word: Any, first: Any, v: Any) -> Any:
        return w[(*at, word, T.ramp(first + v * n, 1, n))]

    def low(word: Any) -> Any:
        return T.bitwise_and(word, broadcast(T.int32(LOW_NIBBLES), n))

    def high(word: Any) -> Any:
        return low(T.shift_right(word, broadcast(T.int32(4), n)))

    def row(row0: Any, i: Any, last_row: Any) -> Any:
        return T.min(row0 + i, last_row)

    @T.macro
    def dot(dots, values, x, row0, last_row, xg, word, v):
        for i in T.unroll(rows):
            dots[i, lane(v)] = isa.dot(bits, dots[i, lane(v)], values, x[row(row0, i, last_row), xg, word])

    @T.macro
    def add(acc, dots, w, w_scale, at, first, x, x_scale, x_sum, xg, row0, last_row):
        if layout.integer:
            for i in T.unroll(rows):
                for v in T.unroll(vectors):
                    dots[i, lane(v)] = isa.begin(bits, offset, x_sum[row(row0, i, last_row), xg])
            for word in T.unroll(layout.words):
                for v in T.unroll(vectors):
                    if bits == 4:
                        dot(dots, low(weight(w, at, word, first, v)), x, row0, last_row, xg, 2 * word, v)
                        dot(dots, high(weight(w, at, word, first, v)), x, row0, last_row, xg, 2 * word + 1, v)
                    else:
                        dot(dots, weight(w, at, word, first, v), x, row0, last_row, xg, word, v)
            for i in T.unroll(rows):
                for v in T.unroll(vectors):
                    acc[i, lane(v)] = acc[i, lane(v)] + T.cast(
                        isa.end(bits, offset, dots[i, lane(v)], x_sum[row(row0, i, last_row), xg]), f"float32x{n}"
                    ) * (
                        as_float32(w_scale[(*at, T.ramp(first + v * n, 1, n))], layout.float_dtype, n)
                        * broadcast(x_scale[row(row0, i, last_row), xg], n)
                    )
        else:
            for word in T.serial(layout.words):
                for v in T.unroll(vectors):
                    for i in T.unroll(rows):
                        acc[i, lane(v)] = acc[i, lane(v)] + as_float32(
                            weight(w, at, word, first, v), layout.float_dtype, n
                        ) * broadcast(x[row(row0, i, last_row), xg, word], n)

    return add


def output_block(p: Projection, rows: int) -> Callable[..., Any]:
    """Macro: `rows` rows of `y [M, N]` from `row0` on, output block `nb`: matrix, adapter, bias, residual.

    `x, x_scale, x_sum` are the quantised activations, `t, t_scale, t_sum` the quantised products with A.
    """
    n = p.isa.lanes
    vectors = min(OUTPUT_BLOCK // n, p.isa.tile_rows * p.isa.tile_vectors // rows)
    width = vectors * n
    add_weight = add_group(p.isa, p.weight, rows, vectors)
    add_adapter = add_group(p.isa, p.b, rows, vectors)

    def lane(v: Any) -> Any:
        return T.ramp(v * n, 1, n)

    @T.macro
    def block(
        x, x_scale, x_sum, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength, bias, residual, y, n_rows, row0, nb
    ):  # fmt: skip
        for tile in T.serial(OUTPUT_BLOCK // width):
            with T.sblock("output_block"):
                T.reads()
                T.writes()
                acc = T.sblock_alloc_buffer((rows, width), "float32")
                dots = T.sblock_alloc_buffer((rows, width), "int32")
                for i in T.unroll(rows):
                    for v in T.unroll(vectors):
                        acc[i, lane(v)] = broadcast(T.float32(0), n)
                for g in T.serial(p.n_groups):
                    add_weight(acc, dots, w, w_scale, (nb, g), tile * width, x, x_scale, x_sum, g, row0, n_rows - 1)
                if p.adapter:
                    if strength[0] != T.float32(0):
                        for r in T.serial(rank_blocks):
                            add_adapter(
                                acc, dots, b, b_scale, (r, nb), tile * width, t, t_scale, t_sum,
                                p.part_of(nb) * rank_blocks + r, row0, n_rows - 1
                            )  # fmt: skip
                for i in T.unroll(rows):
                    if row0 + i < n_rows:
                        for v in T.unroll(vectors):
                            if p.bias:
                                acc[i, lane(v)] = (
                                    acc[i, lane(v)] + bias[T.ramp(nb * OUTPUT_BLOCK + tile * width + v * n, 1, n)]
                                )
                            if p.scale != 1:
                                acc[i, lane(v)] = acc[i, lane(v)] * broadcast(T.float32(p.scale), n)
                            if p.residual:
                                acc[i, lane(v)] = (
                                    acc[i, lane(v)]
                                    + residual[row0 + i, T.ramp(nb * OUTPUT_BLOCK + tile * width + v * n, 1, n)]
                                )
                            y[row0 + i, T.ramp(nb * OUTPUT_BLOCK + tile * width + v * n, 1, n)] = acc[i, lane(v)]

    return block


def rank_block(p: Projection, rows: int) -> Callable[..., Any]:
    """Macro: 16 ranks of A's product for `rows` rows from `row0` on, times the strength, quantised for B.

    `part` says which of the fused linears, `r` which 16 of its ranks; they become group `part * rank_blocks + r` of `t`.
    """
    n = p.isa.lanes
    vectors = RANK_BLOCK // n
    add = add_group(p.isa, p.a, rows, vectors)
    quantize = quantize_group(p.b)

    @T.macro
    def block(x, x_scale, x_sum, t, t_scale, t_sum, a, a_scale, rank_blocks, strength, n_rows, row0, part, r):
        with T.sblock("rank_block"):
            T.reads()
            T.writes()
            acc = T.sblock_alloc_buffer((rows, RANK_BLOCK), "float32")
            dots = T.sblock_alloc_buffer((rows, RANK_BLOCK), "int32")
            for i in T.unroll(rows):
                for v in T.unroll(vectors):
                    acc[i, T.ramp(v * n, 1, n)] = broadcast(T.float32(0), n)
            for g in T.serial(p.n_groups):
                add(acc, dots, a, a_scale, (r, part, g), 0, x, x_scale, x_sum, g, row0, n_rows - 1)
            for i in T.serial(rows):
                if row0 + i < n_rows:
                    quantize(acc, i, t, t_scale, t_sum, row0 + i, part * rank_blocks + r, strength[0])

    return block
