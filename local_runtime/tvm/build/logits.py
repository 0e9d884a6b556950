"""What one wants to know of logits at every step: the greedy token and the logarithm of the softmax's denominator.

Rows are cut in chunks of a fixed size, so that the sums are formed in one order whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.vectors import broadcast, exponential, intrinsic, largest, total

CHUNK = 2048
LANES = 16
LOWEST = -3e38


def n_chunks(vocab_size: int) -> int:
    """Chunks of a row of logits."""
    return -(-vocab_size // CHUNK)


def summarize(vocab_size: int) -> Callable[..., Any]:
    """Macro: `logits [M, ..] float32`, the first `vocab_size` columns of which count, to two results.

    `greedy [M] int32` is the first largest; `normalizer [M] float32` is log(sum(exp(logits))), so that a token's
    log-probability is its logit minus it. `peaks` and `parts [M, chunks]` are scratch.
    """
    chunks = n_chunks(vocab_size)
    lanes = T.ramp(0, 1, LANES)

    def n_vectors(c: Any) -> Any:
        return (T.min(T.int64(CHUNK), T.int64(vocab_size) - c * CHUNK) + (LANES - 1)) // LANES

    def column(c: Any, j: Any) -> Any:
        return T.ramp(c * CHUNK + j * LANES, 1, LANES)

    def counted(c: Any, j: Any, value: Any, otherwise: Any) -> Any:
        return T.Select(column(c, j) < broadcast(T.int64(vocab_size), LANES), value, broadcast(otherwise, LANES))

    @T.macro
    def chunk(logits, peaks, parts, m, c):
        with T.sblock("chunk"):
            T.reads()
            T.writes()
            peak = T.sblock_alloc_buffer((LANES,), "float32")
            part = T.sblock_alloc_buffer((LANES,), "float32")
            peak[lanes] = broadcast(T.float32(LOWEST), LANES)
            part[lanes] = broadcast(T.float32(0), LANES)
            for j in T.serial(n_vectors(c)):
                peak[lanes] = T.max(peak[lanes], counted(c, j, logits[m, column(c, j)], T.float32(LOWEST)))
            peaks[m, c] = largest(peak[lanes], LANES)
            for j in T.serial(n_vectors(c)):
                part[lanes] = part[lanes] + counted(
                    c, j, exponential(logits[m, column(c, j)] - broadcast(peaks[m, c], LANES), LANES), T.float32(0)
                )
            parts[m, c] = total(part[lanes])

    @T.macro
    def row(logits, peaks, parts, greedy, normalizer, m):
        with T.sblock("row"):
            T.reads()
            T.writes()
            best = T.sblock_alloc_buffer((1,), "float32")
            mass = T.sblock_alloc_buffer((1,), "float32")
            where = T.sblock_alloc_buffer((1,), "int64")
            first = T.sblock_alloc_buffer((LANES,), "int32")
            best[0] = T.float32(LOWEST)
            where[0] = T.int64(0)
            for c in T.serial(T.int64(chunks)):
                if peaks[m, c] > best[0]:
                    best[0] = peaks[m, c]
                    where[0] = c
            mass[0] = T.float32(0)
            for c in T.serial(T.int64(chunks)):
                mass[0] = mass[0] + parts[m, c] * T.exp(peaks[m, c] - best[0])
            normalizer[m] = best[0] + T.log(mass[0])
            first[lanes] = broadcast(T.int32(vocab_size - 1), LANES)
            for j in T.serial(n_vectors(where[0])):
                first[lanes] = T.min(
                    first[lanes],
                    T.Select(
                        logits[m, column(where[0], j)] == broadcast(best[0], LANES),
                        T.cast(column(where[0], j), f"int32x{LANES}"),
                        broadcast(T.int32(vocab_size - 1), LANES),
                    ),
                )
            greedy[m] = intrinsic("int32", "llvm.vector.reduce.smin", first[lanes])

    @T.macro
    def apply(logits, greedy, normalizer, peaks, parts, n_rows):
        for f in T.parallel(n_rows * chunks):
            chunk(logits, peaks, parts, f // chunks, f % chunks)
        for m in T.serial(n_rows):
            row(logits, peaks, parts, greedy, normalizer, m)

    return apply
