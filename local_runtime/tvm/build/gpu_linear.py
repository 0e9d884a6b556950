"""A linear for GPUs: weights as MLC stores them, de-quantised where they are multiplied, with an adapter beside them.

The reduction is float32 whatever the weights are. TVM's schedules (dlight) turn a product into tensor-core tiles for
many rows, and into a reduction across the threads of a block for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

from local_runtime.model.quantization import GROUP_SIZE, Quantization


@dataclass(frozen=True, slots=True)
class Linear:
    """`y = x @ W.T (+ bias) (+ strength * (x @ A.T) @ B.T)`.

    Its tensors: `q_weight [n, k * bits / 32]` uint32 and `q_scale [n, k / 32]`, or `weight [n, k]`; `bias [n]`;
    `lora_a [rank, k]` and `lora_b [n, rank]`.
    """

    tensors: Mapping[str, nn.Tensor]
    quantization: Quantization
    dtype: str
    """Of activations, scales and adapters."""

    def __call__(self, x: nn.Tensor, strength: nn.Tensor | None = None, out_dtype: str | None = None) -> nn.Tensor:
        """`x [1, m, k]` to `[1, m, n]`; `strength [1]` float32 of the adapter, None for the base alone."""
        y = op.tensor_expr_op(self._multiply, "linear", [x, *self._stored])
        if "bias" in self.tensors:
            y = y + self.tensors["bias"].astype("float32")
        if strength is not None:
            low = op.tensor_expr_op(_product, "lora_a", [x, self.tensors["lora_a"]]).astype(self.dtype)
            y = y + op.tensor_expr_op(_product, "lora_b", [low, self.tensors["lora_b"]]) * strength
        return y.astype(out_dtype or self.dtype)

    def rows(self, ids: nn.Tensor) -> nn.Tensor:
        """The weight as a table: `ids [m]` to `[1, m, k]`."""

        def take(ids: Any, *stored: Any) -> Any:
            value = self._value(stored)
            return te.compute((1, ids.shape[0], self._n_inputs(stored)), lambda _, i, j: value(ids[i], j), name="rows")

        return op.tensor_expr_op(take, "rows", [ids, *self._stored])

    @property
    def _stored(self) -> list[nn.Tensor]:
        names = ("q_weight", "q_scale") if self.quantization.grouped else ("weight",)
        return [self.tensors[name] for name in names]

    def _n_inputs(self, stored: Sequence[Any]) -> Any:
        return stored[1].shape[1] * GROUP_SIZE if self.quantization.grouped else stored[0].shape[1]

    def _value(self, stored: Sequence[Any]) -> Callable[[Any, Any], Any]:
        """The weight at a row and a column."""
        if not self.quantization.grouped:
            return lambda i, j: stored[0][i, j]
        (words, scales), bits, each = stored, self.quantization.bits, self.quantization.per_word

        def value(i: Any, j: Any) -> Any:
            shifted = tirx.shift_right(words[i, j // each], tirx.Cast("uint32", (j % each) * bits))
            integer = tirx.bitwise_and(shifted, tirx.const(2**bits - 1, "uint32"))
            centred = tirx.Cast(self.dtype, integer) - tirx.const(self.quantization.max_int, self.dtype)
            return centred * scales[i, j // GROUP_SIZE]

        return value

    def _multiply(self, x: Any, *stored: Any) -> Any:
        if not self.quantization.grouped:
            return _product(x, stored[0])
        shape = (stored[0].shape[0], self._n_inputs(stored))
        return _product(x, te.compute(shape, self._value(stored), name="dequantize"))


def _product(x: Any, w: Any) -> Any:
    """`x [1, m, k] @ w [n, k].T`, summed in float32."""
    r = te.reduce_axis((0, w.shape[1]), "r")
    return te.compute(
        (1, x.shape[1], w.shape[0]),
        lambda b, i, j: te.sum(x[b, i, r].astype("float32") * w[j, r].astype("float32"), axis=r),
        name="product",
    )
