"""Rows of tables: the embedding, out of the packed weights that the output head may share, and learned positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.layout import OUTPUT_BLOCK, PackedLayout
from local_runtime.tvm.build.vectors import as_float32


def table_row(layout: PackedLayout, k: int, *, multiplier: float = 1.0, add: bool = False) -> Callable[..., Any]:
    """Macro: row `m` of `y [M, K] float32` becomes row `ids[m]` of a packed table times `multiplier`; or, with `add`, grows by it."""

    def value(word: Any, i: int) -> Any:
        """Value `i` of a word, as float32."""
        if layout.bits == 4:
            nibble = T.shift_right(word, T.int32(8 * (i % 4) + 4 * (i // 4)))
            return T.cast(T.bitwise_and(nibble, T.int32(15)) - T.int32(layout.offset), "float32")
        if layout.offset:
            byte = T.bitwise_and(T.shift_right(word, T.int32(8 * i)), T.int32(255))
            return T.cast(byte - T.int32(layout.offset), "float32")
        return T.cast(T.shift_right(T.shift_left(word, T.int32(24 - 8 * i)), T.int32(24)), "float32")

    def placed(before: Any, found: Any) -> Any:
        """What a place becomes that held `before`."""
        scaled = found if multiplier == 1 else found * T.float32(multiplier)
        return before + scaled if add else scaled

    per_word = layout.group // layout.words

    @T.macro
    def row(ids, w, w_scale, y, m):
        for g in T.serial(k // layout.group):
            with T.sblock("group"):
                T.reads()
                T.writes()
                for word in T.unroll(layout.words):
                    if layout.integer:
                        for i in range(per_word):
                            y[m, g * layout.group + word * per_word + i] = placed(
                                y[m, g * layout.group + word * per_word + i],
                                value(w[ids[m] // OUTPUT_BLOCK, g, word, ids[m] % OUTPUT_BLOCK], i)
                                * as_float32(
                                    w_scale[ids[m] // OUTPUT_BLOCK, g, ids[m] % OUTPUT_BLOCK], layout.float_dtype, 1
                                ),
                            )
                    else:
                        y[m, g * layout.group + word] = placed(
                            y[m, g * layout.group + word],
                            as_float32(
                                w[ids[m] // OUTPUT_BLOCK, g, word, ids[m] % OUTPUT_BLOCK], layout.float_dtype, 1
                            ),
                        )

    return row
