"""A linear with an adapter beside it: y = scale * (W f(x) + strength * B (A f(x)) + bias) + residual.

The front and A's product are parallel over rows, the matrix over blocks of outputs, so that a block's weights are read
once and stay in the cache. `strength == 0` skips the adapter: the result equals the base's bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.activations import front_row
from local_runtime.tvm.build.matmul import output_block, rank_block
from local_runtime.tvm.build.projection import Projection


def linear(p: Projection) -> Callable[..., Any]:
    """Macro: rows `first ..` of `x`, `n_rows` of them, to `y [n_rows, N]`.

    `norm` and `norm_bias` are the front's; `words, scales, sums` and `t, t_scale, t_sum` are scratch; `n_rows` and `first` are int64.
    """
    tile = p.isa.tile_rows
    front = front_row(p.front, p.k, p.eps, p.weight)
    rank_tile = {rows: rank_block(p, rows) for rows in (1, tile)}
    # what is left behind whole tiles takes the next larger code: few rows are what verification brings
    few = [rows for rows in (1, 2, 4) if rows < tile]
    outputs = {rows: output_block(p, rows) for rows in (*few, tile)}
    n_parts = len(p.parts)

    @T.macro
    def ranks(rows, words, scales, sums, t, t_scale, t_sum, a, a_scale, rank_blocks, strength, n_rows, row0, part):
        for r in T.serial(rank_blocks):
            rank_tile[rows](
                words, scales, sums, t, t_scale, t_sum, a, a_scale, rank_blocks, strength, n_rows, row0, part, r
            )

    @T.macro
    def apply(
        x, first, norm, norm_bias, w, w_scale, a, a_scale, b, b_scale, rank_blocks, strength, bias, residual, y, n_rows,
        words, scales, sums, t, t_scale, t_sum
    ):  # fmt: skip
        if n_rows == 1:
            front(x, first, norm, norm_bias, words, scales, sums, T.int64(0))
        else:
            for m in T.parallel(n_rows):
                front(x, first + m, norm, norm_bias, words, scales, sums, m)
        if p.adapter:
            if strength[0] != T.float32(0):
                if n_rows == 1:
                    for part in T.serial(T.int64(n_parts)):
                        ranks(
                            1, words, scales, sums, t, t_scale, t_sum, a, a_scale, rank_blocks, strength,
                            n_rows, T.int64(0), part
                        )  # fmt: skip
                else:
                    for f in T.parallel((n_rows + (tile - 1)) // tile * n_parts):
                        ranks(
                            tile, words, scales, sums, t, t_scale, t_sum, a, a_scale, rank_blocks, strength,
                            n_rows, f // n_parts * tile, f % n_parts
                        )  # fmt: skip
        for nb in T.parallel(p.n_blocks):
            for i in T.serial((n_rows + (tile - 1 - few[-1])) // tile):
                outputs[tile](
                    words, scales, sums, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength,
                    bias, residual, y, n_rows, i * tile, nb
                )  # fmt: skip
            if n_rows % tile == 1:
                outputs[1](
                    words, scales, sums, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength,
                    bias, residual, y, n_rows, n_rows - 1, nb
                )  # fmt: skip
            if 2 in few:
                if n_rows % tile == 2:
                    outputs[2](
                        words, scales, sums, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength,
                        bias, residual, y, n_rows, n_rows - 2, nb
                    )  # fmt: skip
            if 4 in few:
                if T.And(n_rows % tile > 2, n_rows % tile <= 4):
                    outputs[4](
                        words, scales, sums, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength,
                        bias, residual, y, n_rows, n_rows - n_rows % tile, nb
                    )  # fmt: skip

    return apply
