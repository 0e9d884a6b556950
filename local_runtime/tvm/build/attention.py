"""Attention over a pool of pages: rotary positions, append to the pool in place, causal softmax in one pass.

Pages hold 32 tokens. Keys lie transposed `[layer, page, head, head_dim, 32]`, so that scores are formed 32 tokens at a
time without a sum across lanes; values lie `[layer, page, head, 32, head_dim]`. The softmax is the online one
(Milakov & Gimelshein, arXiv:1805.02867), rescaled once a page. Cosines and sines are arguments: any stretching of
rotary positions is the host's affair, and a decoder without them gets 1 and 0. The rotation pairs `d` with `d + head_dim/2`, as Llama and Qwen2 do.

Rows are (token, query head) pairs of one key-value head; a tile of them shares each page that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.isa import Instructions
from local_runtime.tvm.build.layout import PAGE_TOKENS, padded
from local_runtime.tvm.build.vectors import as_float32, as_stored, broadcast, exponential, largest, total
from local_runtime.errors import BuildFailed

LOWEST = -1e30
SCALARS = 8
"""A tile's per-row scalars lie in one vector."""


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What the attention kernels depend on."""

    isa: Instructions
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    kv_dtype: str
    one_linear: bool = False
    """q, k and v are rows of one linear: nothing is padded between them."""
    window: int = 0
    """How many tokens, itself included, a token looks at; 0 for all before it."""
    multiplier: float = 0.0
    """Of the scores; 0 for 1 / sqrt(head_dim)."""
    norm_eps: float = 0.0
    """Above 0: queries and keys pass an RMS norm."""

    def __post_init__(self) -> None:
        """Raise BuildFailed for heads that the kernels cannot cut."""
        if self.head_dim % 16 or self.n_heads % self.n_kv_heads:
            raise BuildFailed(
                f"{self.n_heads} heads of {self.head_dim} over {self.n_kv_heads} key-value heads: a head must have a "
                "multiple of 16, and key-value heads must divide the heads"
            )

    @property
    def group(self) -> int:
        """Query heads that share a key-value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def key_offset(self) -> int:
        """Column of the first key in a row `[q | k | v]`, each linear padded to whole blocks."""
        size = self.n_heads * self.head_dim
        return size if self.one_linear else padded(size)

    @property
    def value_offset(self) -> int:
        """Column of the first value."""
        size = self.n_kv_heads * self.head_dim
        return self.key_offset + (size if self.one_linear else padded(size))

    @property
    def score_scale(self) -> float:
        """Of a query's product with a key."""
        return self.multiplier or 1.0 / math.sqrt(self.head_dim)

    @property
    def tile_rows(self) -> int:
        """Rows of a tile when there are many: their scores fill the registers."""
        return 6 if self.isa.lanes == 16 else 4

    def pool_shapes(self, n_pages: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Shapes of the pools of keys and of values."""
        page = (self.n_layers, n_pages, self.n_kv_heads)
        return (*page, self.head_dim, PAGE_TOKENS), (*page, PAGE_TOKENS, self.head_dim)


def normalize_heads(s: AttentionShape) -> Callable[..., Any]:
    """Macro: in row `m` of `qkv`, the queries and the key of key-value head `kh` become x / sqrt(mean(x²) + eps) * weight."""
    lanes = 32 if s.head_dim % 32 == 0 else 16

    def piece(buffer: Any, m: Any, column: Any, i: Any) -> Any:
        return buffer[m, T.ramp(column + i * lanes, 1, lanes)]

    @T.macro
    def head(qkv, weight, m, column):
        with T.sblock("head_norm"):
            T.reads()
            T.writes()
            squares = T.sblock_alloc_buffer((lanes,), "float32")
            factor = T.sblock_alloc_buffer((1,), "float32")
            squares[T.ramp(0, 1, lanes)] = broadcast(T.float32(0), lanes)
            for i in T.serial(s.head_dim // lanes):
                squares[T.ramp(0, 1, lanes)] = squares[T.ramp(0, 1, lanes)] + piece(qkv, m, column, i) * piece(
                    qkv, m, column, i
                )
            factor[0] = T.float32(1) / T.sqrt(
                total(squares[T.ramp(0, 1, lanes)]) * T.float32(1.0 / s.head_dim) + T.float32(s.norm_eps)
            )
            for i in T.serial(s.head_dim // lanes):
                qkv[m, T.ramp(column + i * lanes, 1, lanes)] = (
                    piece(qkv, m, column, i) * broadcast(factor[0], lanes) * weight[T.ramp(i * lanes, 1, lanes)]
                )

    @T.macro
    def heads(qkv, q_norm, k_norm, m, kh):
        for r in T.serial(s.group):
            head(qkv, q_norm, m, (kh * s.group + r) * s.head_dim)
        head(qkv, k_norm, m, s.key_offset + kh * s.head_dim)

    return heads


def rotate_and_append(s: AttentionShape) -> Callable[..., Any]:
    """Macro: token `m`, key-value head `kh`: rotate and scale its queries into `q`, append key and value to the pool."""
    d_head, half, group = s.head_dim, s.head_dim // 2, s.group
    normalize = normalize_heads(s)
    scale = s.score_scale

    def low(buffer: Any, m: Any, start: Any) -> Any:
        return buffer[m, T.ramp(start, 1, half)]

    @T.macro
    def append(qkv, q_norm, k_norm, cos, sin, positions, table, keys, values, layer, q, m, kh):
        if s.norm_eps > 0:
            normalize(qkv, q_norm, k_norm, m, kh)
        with T.sblock("append"):
            T.reads()
            T.writes()
            for r in T.serial(group):
                q[m, T.ramp((kh * group + r) * d_head, 1, half)] = (
                    low(qkv, m, (kh * group + r) * d_head) * low(cos, positions[m], 0)
                    - low(qkv, m, (kh * group + r) * d_head + half) * low(sin, positions[m], 0)
                ) * broadcast(T.float32(scale), half)
                q[m, T.ramp((kh * group + r) * d_head + half, 1, half)] = (
                    low(qkv, m, (kh * group + r) * d_head + half) * low(cos, positions[m], 0)
                    + low(qkv, m, (kh * group + r) * d_head) * low(sin, positions[m], 0)
                ) * broadcast(T.float32(scale), half)
            for d in T.serial(half):
                keys[layer, table[positions[m] // PAGE_TOKENS], kh, d, positions[m] % PAGE_TOKENS] = as_stored(
                    qkv[m, s.key_offset + kh * d_head + d] * cos[positions[m], d]
                    - qkv[m, s.key_offset + kh * d_head + half + d] * sin[positions[m], d],
                    s.kv_dtype,
                    1,
                )
                keys[layer, table[positions[m] // PAGE_TOKENS], kh, half + d, positions[m] % PAGE_TOKENS] = as_stored(
                    qkv[m, s.key_offset + kh * d_head + half + d] * cos[positions[m], d]
                    + qkv[m, s.key_offset + kh * d_head + d] * sin[positions[m], d],
                    s.kv_dtype,
                    1,
                )
            values[layer, table[positions[m] // PAGE_TOKENS], kh, positions[m] % PAGE_TOKENS, T.ramp(0, 1, d_head)] = (
                as_stored(qkv[m, T.ramp(s.value_offset + kh * d_head, 1, d_head)], s.kv_dtype, d_head)
            )

    return append


def attend_tile(s: AttentionShape, rows: int) -> Callable[..., Any]:
    """Macro: rows `tile * rows ..` of key-value head `kh` attend to the tokens up to their own, within the window."""
    d_head, group = s.head_dim, s.group
    columns = 32 if d_head % 32 == 0 else 16  # of the output, kept in registers
    page = T.ramp(0, 1, PAGE_TOKENS)
    scalars = T.ramp(0, 1, SCALARS)

    def token_of(tile: Any, r: Any, n_rows: Any) -> Any:
        return T.min(tile * rows + r, n_rows * group - 1) // group

    def first_page(positions: Any, tile: Any, n_rows: Any) -> Any:
        """The first page in which the tile's first row, and so any of its rows, sees a token."""
        if not s.window:
            return 0
        first = positions[token_of(tile, 0, n_rows)] - T.int32(s.window - 1)
        return T.max(first, T.int32(0)) // PAGE_TOKENS

    def seen(tokens: Any, position: Any) -> Any:
        """Which of 32 tokens a row at `position` looks at."""
        before = tokens <= broadcast(position, PAGE_TOKENS)
        if not s.window:
            return before
        return T.And(before, tokens > broadcast(position - T.int32(s.window), PAGE_TOKENS))

    def column_of(tile: Any, r: Any, kh: Any, n_rows: Any) -> Any:
        return (kh * group + T.min(tile * rows + r, n_rows * group - 1) % group) * d_head

    @T.macro
    def attend(q, positions, table, keys, values, layer, out, n_rows, tile, kh):
        with T.sblock("attend"):
            T.reads()
            T.writes()
            p = T.sblock_alloc_buffer((rows, PAGE_TOKENS), "float32")
            weight = T.sblock_alloc_buffer((rows, PAGE_TOKENS), "float32")
            sums = T.sblock_alloc_buffer((rows, columns), "float32")
            o = T.sblock_alloc_buffer((rows, d_head), "float32")
            best = T.sblock_alloc_buffer((SCALARS,), "float32")
            new_best = T.sblock_alloc_buffer((SCALARS,), "float32")
            shrink = T.sblock_alloc_buffer((SCALARS,), "float32")
            last = T.sblock_alloc_buffer((1,), "int32")
            best[scalars] = broadcast(T.float32(LOWEST), SCALARS)
            new_best[scalars] = broadcast(T.float32(LOWEST), SCALARS)
            last[0] = positions[token_of(tile, rows - 1, n_rows)]
            for r in T.serial(rows):
                weight[r, page] = broadcast(T.float32(0), PAGE_TOKENS)
                o[r, T.ramp(0, 1, d_head)] = broadcast(T.float32(0), d_head)
            # A page before a row's window counts for nothing: the first page in it shrinks all sums to 0.
            for n in T.serial(first_page(positions, tile, n_rows), last[0] // PAGE_TOKENS + 1):
                for r in T.unroll(rows):
                    p[r, page] = broadcast(T.float32(0), PAGE_TOKENS)
                for d in T.serial(d_head):
                    for r in T.unroll(rows):
                        p[r, page] = p[r, page] + broadcast(
                            q[token_of(tile, r, n_rows), column_of(tile, r, kh, n_rows) + d], PAGE_TOKENS
                        ) * as_float32(keys[layer, table[n], kh, d, page], s.kv_dtype, PAGE_TOKENS)
                for r in T.serial(rows):
                    p[r, page] = T.Select(
                        seen(T.ramp(n * PAGE_TOKENS, 1, PAGE_TOKENS), positions[token_of(tile, r, n_rows)]),
                        p[r, page],
                        broadcast(T.float32(LOWEST), PAGE_TOKENS),
                    )
                    new_best[r] = T.max(best[r], largest(p[r, page], PAGE_TOKENS))
                shrink[scalars] = exponential(best[scalars] - new_best[scalars], SCALARS)
                best[scalars] = new_best[scalars]
                for r in T.serial(rows):
                    p[r, page] = exponential(p[r, page] - broadcast(best[r], PAGE_TOKENS), PAGE_TOKENS)
                    weight[r, page] = weight[r, page] * broadcast(shrink[r], PAGE_TOKENS) + p[r, page]
                for c in T.serial(d_head // columns):
                    for r in T.unroll(rows):
                        sums[r, T.ramp(0, 1, columns)] = o[r, T.ramp(c * columns, 1, columns)] * broadcast(
                            shrink[r], columns
                        )
                    # no further than the last token: what a page holds beyond it belongs to nobody
                    for t in T.serial(T.min(PAGE_TOKENS, last[0] - n * PAGE_TOKENS + 1)):
                        for r in T.unroll(rows):
                            sums[r, T.ramp(0, 1, columns)] = sums[r, T.ramp(0, 1, columns)] + broadcast(
                                p[r, t], columns
                            ) * as_float32(
                                values[layer, table[n], kh, t, T.ramp(c * columns, 1, columns)], s.kv_dtype, columns
                            )
                    for r in T.unroll(rows):
                        o[r, T.ramp(c * columns, 1, columns)] = sums[r, T.ramp(0, 1, columns)]
            for r in T.serial(rows):
                if tile * rows + r < n_rows * group:
                    out[
                        (tile * rows + r) // group,
                        T.ramp((kh * group + (tile * rows + r) % group) * d_head, 1, d_head),
                    ] = o[r, T.ramp(0, 1, d_head)] * broadcast(T.float32(1) / total(weight[r, page]), d_head)

    return attend


def attention(s: AttentionShape) -> Callable[..., Any]:
    """Macro: `qkv [M, N]` to `out [M, n_heads * head_dim]`; appends to the pools in place.

    `positions [M] int32` are consecutive; `table [P] int32` names the sequence's pages in order; `q` is scratch of `out`'s
    shape; `q_norm` and `k_norm [head_dim]` are read if the heads are normed.
    """
    rows, rows_of_one = s.tile_rows, min(s.group, s.tile_rows)
    tiles_of_one = -(-s.group // rows_of_one)
    append = rotate_and_append(s)
    attend, attend_one = attend_tile(s, rows), attend_tile(s, rows_of_one)

    def n_tiles(n_rows: Any) -> Any:
        return (n_rows * s.group + (rows - 1)) // rows

    @T.macro
    def apply(qkv, q_norm, k_norm, cos, sin, positions, table, keys, values, layer, q, out, n_rows):
        if n_rows == 1:
            for kh in T.parallel(s.n_kv_heads):
                append(qkv, q_norm, k_norm, cos, sin, positions, table, keys, values, layer, q, T.int64(0), kh)
                for tile in T.serial(T.int64(tiles_of_one)):
                    attend_one(q, positions, table, keys, values, layer, out, n_rows, tile, kh)
        else:
            for m in T.parallel(n_rows):
                for kh in T.serial(s.n_kv_heads):
                    append(qkv, q_norm, k_norm, cos, sin, positions, table, keys, values, layer, q, m, kh)
            for f in T.parallel(s.n_kv_heads * n_tiles(n_rows)):
                attend(q, positions, table, keys, values, layer, out, n_rows, f % n_tiles(n_rows), f // n_tiles(n_rows))

    return apply
