"""The decoder as a graph for GPUs, with TVM's paged KV cache. The same description as on the CPU: one module, options.

Functions, each also as `NAME_adapted` (the base's own do no work for an adapter):

    f(ids [m] int32, positions [m] int32, cos, sin [positions, head_dim/2] float32, strength [1] float32, cache, parameters)
        -> [logits [1, r, vocab] float32, greedy [1, r] int32, normalizer [1, r] float32]

`decode` takes one token, `prefill` any number and gives the last row alone, `verify` gives all of them. What the results
mean is what it is on the CPU (`local_runtime.tvm.run.library`). `create_cache(max_batch, max_tokens, chunk, page, window)` makes
the cache. Positions are rotated here, not in the cache, by run-time tables: so every kind of scaling is the CPU's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax, te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op, spec
from tvm.relax.frontend.nn.core import wrap_nested
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode, TIRPagedKVCache

from local_runtime.tvm.build.gpu_linear import Linear
from local_runtime.tvm.run.library import Parameter
from local_runtime.model.decoder_config import Activation, DecoderConfig
from local_runtime.model.layout import NAMES
from local_runtime.model.quantization import Quantization

MAX_ROWS = 128
"""Tokens of one forward at most: memory is planned for so many."""


@dataclass(frozen=True, slots=True)
class Call:
    """What every layer of one forward is given. `strength` is None for the base alone."""

    positions: nn.Tensor
    cos: nn.Tensor
    sin: nn.Tensor
    strength: nn.Tensor | None
    cache: PagedKVCache


class GpuDecoder(nn.Module):  # type: ignore[misc]  # tvm has no types
    """A decoder whose parameters are `parameters`, by MLC's names."""

    def __init__(
        self, c: DecoderConfig, quantization: Quantization, dtype: str, target: Any, parameters: tuple[Parameter, ...]
    ) -> None:
        self._c, self._quantization, self._dtype, self._target = c, quantization, dtype, target
        self._names = NAMES[c.family]
        self.tensors = nn.ParameterDict({p.name: nn.Parameter(p.shape, p.dtype) for p in parameters})

    def forward(
        self, ids: nn.Tensor, positions: nn.Tensor, cos: nn.Tensor, sin: nn.Tensor, strength: nn.Tensor,
        cache: PagedKVCache, *, adapted: bool, every_row: bool,
    ) -> Any:  # fmt: skip
        """One forward; see the module's docstring."""
        c, names = self._c, self._names
        call = Call(positions, cos, sin, strength if adapted else None, cache)
        x = self._linear(names.embedding).rows(ids)
        if c.learned_positions:
            x = x + self._linear(names.positions).rows(positions)
        x = x * c.embedding_multiplier
        for n in range(c.n_layers):
            layer = f"{names.layers}.{n}."
            x = x + self._attention(self._norm(layer + names.attention_norm, x), n, layer, call) * c.residual_multiplier
            x = x + self._mlp(self._norm(layer + names.mlp_norm, x), layer, call) * c.residual_multiplier
        return self._results(x if every_row else op.tensor_expr_op(_last, "last", [x]))

    def create_cache(self, max_batch: Any, max_tokens: Any, chunk: Any, page: Any, window: Any) -> PagedKVCache:
        """TVM's paged KV cache, with its own kernels for this target."""
        c = self._c
        return TIRPagedKVCache(
            attn_kind="mha", max_batch_size=max_batch, max_total_seq_len=max_tokens, prefill_chunk_size=chunk,
            page_size=page, support_sliding_window=window, layer_partition=relax.ShapeExpr([0, c.n_layers]),
            num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads,
            qk_head_dim=c.head_dim, v_head_dim=c.head_dim, mla_original_qk_head_dim=0, mla_original_v_head_dim=0,
            rope_mode=RopeMode.NONE, rope_scale=1, rope_theta=10000, rope_scaling={}, rotary_dim=c.head_dim,
            rope_ext_factors=relax.prim_value(0), enable_disaggregation=False, dtype=self._dtype, target=self._target,
        )  # fmt: skip

    def _linear(self, name: str) -> Linear:
        ends = ("q_weight", "q_scale", "weight", "bias", "lora_a", "lora_b")
        own = {end: self.tensors[f"{name}.{end}"] for end in ends if f"{name}.{end}" in self.tensors}
        return Linear(own, self._quantization, self._dtype)

    def _norm(self, name: str, x: nn.Tensor) -> nn.Tensor:
        weight, eps = self.tensors[f"{name}.weight"], self._c.norm_eps
        if self._c.layer_norm:
            return op.layer_norm(x, self._c.hidden_size, weight, self.tensors[f"{name}.bias"], eps)
        return op.rms_norm(x, weight, axes=-1, epsilon=eps)

    def _attention(self, x: nn.Tensor, n: int, layer: str, call: Call) -> nn.Tensor:
        c, m = self._c, x.shape[1]
        qkv = self._linear(layer + self._names.qkv)(x, call.strength)
        qkv = op.reshape(qkv, (1, m, c.n_heads + 2 * c.n_kv_heads, c.head_dim))
        if c.qk_norm:
            q, k, v = op.split(qkv, [c.n_heads, c.n_heads + c.n_kv_heads], axis=2)
            q = op.rms_norm(q, self.tensors[f"{layer}{self._names.q_norm}.weight"], axes=-1, epsilon=c.norm_eps)
            k = op.rms_norm(k, self.tensors[f"{layer}{self._names.k_norm}.weight"], axes=-1, epsilon=c.norm_eps)
            qkv = op.concat([q, k, v], dim=2)
        if not c.learned_positions:
            qkv = op.tensor_expr_op(self._rotate, "rotate", [qkv, call.positions, call.cos, call.sin])
        mixed = call.cache.attention_with_fused_qkv(n, qkv, c.n_heads, c.attention_multiplier or c.head_dim**-0.5)
        return self._linear(layer + self._names.o)(op.reshape(mixed, (1, m, c.n_heads * c.head_dim)), call.strength)

    def _rotate(self, qkv: Any, positions: Any, cos: Any, sin: Any) -> Any:
        """Queries and keys turned by their positions, their halves in pairs as Llama's; values as they are."""
        half, turned = self._c.head_dim // 2, self._c.n_heads + self._c.n_kv_heads

        def element(b: Any, m: Any, h: Any, d: Any) -> Any:
            at = positions[m]
            own = qkv[b, m, h, d].astype("float32")
            other = qkv[b, m, h, (d + half) % (2 * half)].astype("float32")
            sign = tirx.Select(d < half, tirx.const(-1.0, "float32"), tirx.const(1.0, "float32"))
            value = own * cos[at, d % half] + sign * other * sin[at, d % half]
            return tirx.Select(h < turned, value, own).astype(self._dtype)

        return te.compute(qkv.shape, element, name="rotate")

    def _mlp(self, x: nn.Tensor, layer: str, call: Call) -> nn.Tensor:
        up = self._linear(layer + self._names.up)(x, call.strength)
        if self._c.activation is Activation.SWIGLU:
            gate, up = op.split(up, 2, axis=-1)
            inner = op.silu(gate) * up
        else:
            inner = op.gelu(up, "tanh" if self._c.activation is Activation.GELU_TANH else None)
        return self._linear(layer + self._names.down)(inner, call.strength)

    def _results(self, x: nn.Tensor) -> Any:
        head = self._linear(self._names.head)
        if not head.tensors:
            head = self._linear(self._names.embedding)
        logits = head(self._norm(self._names.norm, x), out_dtype="float32") / self._c.logits_divisor
        greedy = wrap_nested(relax.op.argmax(logits._expr, axis=-1), "greedy").astype("int32")
        logprobs = wrap_nested(relax.op.nn.log_softmax(logits._expr, axis=-1), "logprobs")
        return logits, greedy, op.tensor_expr_op(_first_difference, "normalizer", [logits, logprobs])


def _first_difference(logits: Any, logprobs: Any) -> Any:
    """`[1, m, n]` twice to `[1, m]`: what was taken from every logit of a row is known from its first."""
    return te.compute((1, logits.shape[1]), lambda b, i: logits[b, i, 0] - logprobs[b, i, 0], name="difference")


def _last(x: Any) -> Any:
    return te.compute((1, 1, x.shape[2]), lambda b, _, j: x[b, x.shape[1] - 1, j], name="last")


def decoder_graph(
    c: DecoderConfig, quantization: Quantization, dtype: str, target: Any, parameters: tuple[Parameter, ...]
) -> Any:
    """TVM's module of all functions."""
    decoder = GpuDecoder(c, quantization, dtype, target, parameters)
    functions = {
        name + ending: _function(decoder, rows, adapted=adapted, every_row=every_row)
        for ending, adapted in (("", False), ("_adapted", True))
        for name, rows, every_row in (("decode", 1, True), ("prefill", "m", False), ("verify", "m", True))
    }
    sizes = dict.fromkeys(("max_batch", "max_tokens", "chunk", "page", "window"), int)
    modes = {"param_mode": "none", "effect_mode": "none"}
    cache = spec.MethodSpec.from_raw(sizes | {"$": modes}, decoder.create_cache)
    module, _, _ = decoder.export_tvm(functions | {"create_cache": cache}, allow_extern=True)
    for name in functions:  # one plan of memory for any number of rows
        module[name] = module[name].with_attr("tir_var_upper_bound", {"m": MAX_ROWS})
    return module


def _function(decoder: GpuDecoder, rows: int | str, *, adapted: bool, every_row: bool) -> Any:
    half = decoder._c.head_dim // 2
    arguments = {
        "ids": spec.Tensor([rows], "int32"),
        "positions": spec.Tensor([rows], "int32"),
        "cos": spec.Tensor(["n_positions", half], "float32"),
        "sin": spec.Tensor(["n_positions", half], "float32"),
        "strength": spec.Tensor([1], "float32"),
        "cache": spec.Object(object_type=PagedKVCache),
        "$": {"param_mode": "packed", "effect_mode": "none"},
    }

    def forward(ids: Any, positions: Any, cos: Any, sin: Any, strength: Any, cache: PagedKVCache) -> Any:
        return decoder.forward(ids, positions, cos, sin, strength, cache, adapted=adapted, every_row=every_row)

    return spec.MethodSpec.from_raw(arguments, forward)
