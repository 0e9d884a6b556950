"""A linear with an adapter beside it: y = W f(x) + strength * B (A f(x)) + bias + residual.

One row (decode) is one kernel: the front, A's product, and the blocks of outputs in parallel. Many rows are two: the
front and A's product, parallel over rows; the matrix, parallel over blocks of outputs, so that a block's weights are
read once and stay in the cache. `strength == 0` skips the adapter: the result equals the base's bit for bit.

Arguments that a linear does not have are `strength`'s one float in their place.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from local_runtime.compiler.activations import Front, front_row
from local_runtime.compiler.layout import MAX_RANK, RANK_BLOCK
from local_runtime.compiler.matmul import output_block, rank_block
from local_runtime.compiler.projection import Projection


def linear_one(p: Projection) -> Any:
    """Kernel for one row: `x [1, row_width] float32` to `y [1, N] float32`."""
    front = front_row(p.front, p.k, p.eps, p.weight)
    ranks = rank_block(p, rows=1)
    outputs = output_block(p, rows=1)
    n_parts = len(p.parts)
    most_groups = n_parts * MAX_RANK // RANK_BLOCK
    norm_size = p.k if p.front is Front.RMS_NORM else 1

    @T.prim_func(private=True, s_tir=True)
    def linear_one(
        x: T.Buffer((1, p.row_width), "float32"),
        norm: T.Buffer((norm_size,), "float32"),
        w: T.Buffer(p.weight_shape(), p.weight.dtype),
        w_scale: T.Buffer(p.scale_shape(), p.scale_dtype),
        a_handle: T.handle,
        a_scale_handle: T.handle,
        b_handle: T.handle,
        b_scale_handle: T.handle,
        strength: T.Buffer((1,), "float32"),
        bias: T.Buffer((p.n if p.bias else 1,), "float32"),
        residual: T.Buffer((1, p.n if p.residual else p.row_width), "float32"),
        y: T.Buffer((1, p.n), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        rank_blocks = T.int64()
        a = T.match_buffer(a_handle, p.a_shape(rank_blocks), p.a_dtype)
        a_scale = T.match_buffer(a_scale_handle, p.a_scale_shape(rank_blocks), p.adapter_scale_dtype)
        b = T.match_buffer(b_handle, p.b_shape(rank_blocks), p.b_dtype)
        b_scale = T.match_buffer(b_scale_handle, p.b_scale_shape(rank_blocks), p.adapter_scale_dtype)
        with T.sblock("root"):
            T.reads()
            T.writes()
            words = T.sblock_alloc_buffer((1, p.n_groups, p.weight.activation_words), p.weight.activation_dtype)
            scales = T.sblock_alloc_buffer((1, p.n_groups), "float32")
            sums = T.sblock_alloc_buffer((1, p.n_groups), "int32")
            t = T.sblock_alloc_buffer((1, most_groups, p.b.activation_words), p.b.activation_dtype)
            t_scale = T.sblock_alloc_buffer((1, most_groups), "float32")
            t_sum = T.sblock_alloc_buffer((1, most_groups), "int32")
            front(x, norm, words, scales, sums, 0)
            if p.adapter:
                if strength[0] != T.float32(0):
                    for part in T.serial(T.int64(n_parts)):
                        for r in T.serial(rank_blocks):
                            ranks(
                                words, scales, sums, t, t_scale, t_sum, a, a_scale, rank_blocks, strength,
                                1, 0, part, r
                            )  # fmt: skip
            for nb in T.parallel(p.n_blocks):
                outputs(
                    words, scales, sums, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength,
                    bias, residual, y, 1, 0, nb
                )  # fmt: skip

    return linear_one


def front_many(p: Projection) -> Any:
    """Kernel for many rows: `x [M, row_width] float32` to quantised activations and quantised products with A."""
    front = front_row(p.front, p.k, p.eps, p.weight)
    rows = p.isa.tile_rows
    ranks = rank_block(p, rows)
    n_parts = len(p.parts)
    norm_size = p.k if p.front is Front.RMS_NORM else 1

    @T.prim_func(private=True, s_tir=True)
    def front_many(
        x_handle: T.handle,
        norm: T.Buffer((norm_size,), "float32"),
        a_handle: T.handle,
        a_scale_handle: T.handle,
        strength: T.Buffer((1,), "float32"),
        words_handle: T.handle,
        scales_handle: T.handle,
        sums_handle: T.handle,
        t_handle: T.handle,
        t_scale_handle: T.handle,
        t_sum_handle: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        n_rows, rank_blocks = T.int64(), T.int64()
        x = T.match_buffer(x_handle, (n_rows, p.row_width), "float32")
        a = T.match_buffer(a_handle, p.a_shape(rank_blocks), p.a_dtype)
        a_scale = T.match_buffer(a_scale_handle, p.a_scale_shape(rank_blocks), p.adapter_scale_dtype)
        words = T.match_buffer(words_handle, p.words_shape(n_rows), p.weight.activation_dtype)
        scales = T.match_buffer(scales_handle, (n_rows, p.n_groups), "float32")
        sums = T.match_buffer(sums_handle, (n_rows, p.n_groups), "int32")
        t = T.match_buffer(t_handle, p.t_shape(n_rows, rank_blocks), p.b.activation_dtype)
        t_scale = T.match_buffer(t_scale_handle, p.t_shape(n_rows, rank_blocks)[:2], "float32")
        t_sum = T.match_buffer(t_sum_handle, p.t_shape(n_rows, rank_blocks)[:2], "int32")
        for m in T.parallel(n_rows):
            front(x, norm, words, scales, sums, m)
        if p.adapter:
            if strength[0] != T.float32(0):
                for f in T.parallel((n_rows + (rows - 1)) // rows * n_parts):
                    for r in T.serial(rank_blocks):
                        ranks(
                            words, scales, sums, t, t_scale, t_sum, a, a_scale, rank_blocks, strength, n_rows,
                            f // n_parts * rows, f % n_parts, r
                        )  # fmt: skip

    return front_many


def matmul_many(p: Projection) -> Any:
    """Kernel for many rows: what `front_many` made to `y [M, N] float32`."""
    rows = p.isa.tile_rows
    outputs = output_block(p, rows)

    @T.prim_func(private=True, s_tir=True)
    def matmul_many(
        words_handle: T.handle,
        scales_handle: T.handle,
        sums_handle: T.handle,
        t_handle: T.handle,
        t_scale_handle: T.handle,
        t_sum_handle: T.handle,
        w: T.Buffer(p.weight_shape(), p.weight.dtype),
        w_scale: T.Buffer(p.scale_shape(), p.scale_dtype),
        b_handle: T.handle,
        b_scale_handle: T.handle,
        strength: T.Buffer((1,), "float32"),
        bias: T.Buffer((p.n if p.bias else 1,), "float32"),
        residual_handle: T.handle,
        y_handle: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        n_rows, rank_blocks = T.int64(), T.int64()
        words = T.match_buffer(words_handle, p.words_shape(n_rows), p.weight.activation_dtype)
        scales = T.match_buffer(scales_handle, (n_rows, p.n_groups), "float32")
        sums = T.match_buffer(sums_handle, (n_rows, p.n_groups), "int32")
        b = T.match_buffer(b_handle, p.b_shape(rank_blocks), p.b_dtype)
        b_scale = T.match_buffer(b_scale_handle, p.b_scale_shape(rank_blocks), p.adapter_scale_dtype)
        t = T.match_buffer(t_handle, p.t_shape(n_rows, rank_blocks), p.b.activation_dtype)
        t_scale = T.match_buffer(t_scale_handle, p.t_shape(n_rows, rank_blocks)[:2], "float32")
        t_sum = T.match_buffer(t_sum_handle, p.t_shape(n_rows, rank_blocks)[:2], "int32")
        residual = T.match_buffer(residual_handle, (n_rows, p.n if p.residual else p.n_groups), "float32")
        y = T.match_buffer(y_handle, (n_rows, p.n), "float32")
        for nb in T.parallel(p.n_blocks):
            for tile in T.serial((n_rows + (rows - 1)) // rows):
                outputs(
                    words, scales, sums, t, t_scale, t_sum, w, w_scale, b, b_scale, rank_blocks, strength,
                    bias, residual, y, n_rows, tile * rows, nb
                )  # fmt: skip

    return matmul_many
