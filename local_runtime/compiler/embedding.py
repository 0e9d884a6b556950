"""Rows of the embedding out of the packed weights that the output head may share, and the last row of a chunk."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from local_runtime.compiler.layout import OUTPUT_BLOCK, PackedLayout
from local_runtime.compiler.vectors import as_float32


def embedding(layout: PackedLayout, n_rows_padded: int, k: int) -> Any:
    """Kernel: `ids [M] int32` to `y [M, K] float32`."""
    n_blocks, n_groups = n_rows_padded // OUTPUT_BLOCK, k // layout.group
    scale_shape = (n_blocks, n_groups, OUTPUT_BLOCK) if layout.integer else (1,)
    scale_dtype = layout.float_dtype if layout.integer else "float32"

    def value(word: Any, i: int) -> Any:
        """Value `i` of a word, as float32."""
        if layout.bits == 4:
            nibble = T.shift_right(word, T.int32(8 * (i % 4) + 4 * (i // 4)))
            return T.cast(T.bitwise_and(nibble, T.int32(15)) - T.int32(8), "float32")
        if layout.offset:
            byte = T.bitwise_and(T.shift_right(word, T.int32(8 * i)), T.int32(255))
            return T.cast(byte - T.int32(layout.offset), "float32")
        return T.cast(T.shift_right(T.shift_left(word, T.int32(24 - 8 * i)), T.int32(24)), "float32")

    per_word = layout.group // layout.words

    @T.prim_func(private=True, s_tir=True)
    def embedding(
        ids_handle: T.handle,
        w: T.Buffer((n_blocks, n_groups, layout.words, OUTPUT_BLOCK), layout.dtype),
        w_scale: T.Buffer(scale_shape, scale_dtype),
        y_handle: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        n_rows = T.int64()
        ids = T.match_buffer(ids_handle, (n_rows,), "int32")
        y = T.match_buffer(y_handle, (n_rows, k), "float32")
        for m in T.serial(n_rows):
            for g in T.serial(n_groups):
                for word in T.unroll(layout.words):
                    with T.sblock("word"):
                        T.reads()
                        T.writes()
                        if layout.integer:
                            for i in range(per_word):
                                y[m, g * layout.group + word * per_word + i] = value(
                                    w[ids[m] // OUTPUT_BLOCK, g, word, ids[m] % OUTPUT_BLOCK], i
                                ) * as_float32(
                                    w_scale[ids[m] // OUTPUT_BLOCK, g, ids[m] % OUTPUT_BLOCK], layout.float_dtype, 1
                                )
                        else:
                            y[m, g * layout.group + word] = as_float32(
                                w[ids[m] // OUTPUT_BLOCK, g, word, ids[m] % OUTPUT_BLOCK], layout.float_dtype, 1
                            )

    return embedding


def last_row(k: int) -> Any:
    """Kernel: `x [M, K] float32` to its last row `y [1, K]`."""

    @T.prim_func(private=True, s_tir=True)
    def last_row(x_handle: T.handle, y: T.Buffer((1, k), "float32")):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        n_rows = T.int64()
        x = T.match_buffer(x_handle, (n_rows, k), "float32")
        for i in T.serial(k):
            with T.sblock("element"):
                T.reads()
                T.writes()
                y[0, i] = x[n_rows - 1, i]

    return last_row
