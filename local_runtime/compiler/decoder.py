"""The decoder as a graph of kernels: one definition with options for every family.

Parameters carry MLC's names, so that a loader knows where each comes from (`local_runtime.library` documents the order
and the layouts): `NAME.packed` is made from MLC's `NAME`, norms are MLC's own in float32, and `NAME.lora_a...` belong
to the adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm import tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op, spec

from local_runtime.compiler.activations import Front
from local_runtime.compiler.attention import AttentionShape, attention
from local_runtime.compiler.embedding import embedding, last_row
from local_runtime.compiler.isa import Instructions
from local_runtime.compiler.layout import PackedLayout, adapter_layouts, check_inputs, padded, weight_layout
from local_runtime.compiler.linear import front_many, linear_one, matmul_many
from local_runtime.compiler.logits import n_chunks, summarize
from local_runtime.compiler.projection import Projection
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import QKV_NAMES
from local_runtime.model.quantization import Quantization

ONE_FLOAT = (1,)


@dataclass(frozen=True)
class Plan:
    """What the decoder is built from."""

    config: DecoderConfig
    quantization: Quantization
    isa: Instructions
    kv_dtype: str

    @property
    def weight(self) -> PackedLayout:
        return weight_layout(self.quantization, self.isa)


def tensor(shape: tuple[Any, ...], dtype: str = "float32") -> nn.Tensor:
    """A placeholder for a kernel's result."""
    return nn.Tensor.placeholder(shape, dtype, "result")


def is_one(n_rows: Any) -> bool:
    """Whether a number of rows is known to be one."""
    return isinstance(n_rows, int | tirx.IntImm) and int(n_rows) == 1


class Kernels:
    """Kernels of a graph: one for all linears of one shape."""

    def __init__(self) -> None:
        self.get = cache(self._make)

    @staticmethod
    def _make(make: Callable[..., Any], *args: Any) -> Any:
        return make(*args)


class Linear(nn.Module):
    """Front, matrix, adapter, bias and residual of one projection."""

    def __init__(
        self,
        plan: Plan,
        kernels: Kernels,
        name: str,
        k: int,
        parts: tuple[int, ...],
        front: Front,
        *,
        bias: bool = False,
        residual: bool = False,
        rank: str | None = None,
    ) -> None:
        """`rank` names the symbol of the adapter's rank in blocks of 16; without one there is no adapter."""
        check_inputs(name, k)
        a, b = adapter_layouts(plan.quantization, plan.isa)
        self.kernels = kernels
        self.p = p = Projection(
            plan.isa, k, parts, front, plan.config.norm_eps, plan.weight, a, b, rank is not None, bias, residual
        )
        add_packed(self, p.weight, p.weight_shape(), p.scale_shape())
        if bias:
            setattr(self, "bias.packed", nn.Parameter((p.n,), "float32"))
        if rank is not None:
            shapes = (("a", p.a_shape(rank), p.a_scale_shape(rank)), ("b", p.b_shape(rank), p.b_scale_shape(rank)))
            for side, words, scales in shapes:
                setattr(self, f"lora_{side}.words", nn.Parameter(words, p.a.dtype))
                if p.a.integer:
                    setattr(self, f"lora_{side}.scales", nn.Parameter(scales, p.a.float_dtype))

    def forward(
        self,
        x: nn.Tensor,
        strength: nn.Tensor,
        norm: nn.Tensor | None = None,
        residual: nn.Tensor | None = None,
        weight: nn.Module | None = None,
    ) -> nn.Tensor:
        """`x [M, row_width] float32` to `[M, N] float32`. `weight` is another module whose weights are used."""
        p, get, n_rows = self.p, self.kernels.get, x.shape[0]
        words, scales = packed(weight or self, strength)
        norm = strength if norm is None else norm
        bias = getattr(self, "bias.packed", strength)
        a, a_scale, b, b_scale = (
            getattr(self, f"lora_{side}.{what}", strength) for side in "ab" for what in ("words", "scales")
        )
        if is_one(n_rows):
            args = [x, norm, words, scales, a, a_scale, b, b_scale, strength, bias, residual or x]
            return op.tensor_ir_op(get(linear_one, p), "linear_one", args, tensor((1, p.n)))
        rank_blocks = a.shape[0] if p.adapter else 1
        t_shape = p.t_shape(n_rows, rank_blocks)
        quantized = op.tensor_ir_op(
            get(front_many, p),
            "front_many",
            [x, norm, a, a_scale, strength],
            [
                tensor(p.words_shape(n_rows), p.weight.activation_dtype),
                tensor((n_rows, p.n_groups)),
                tensor((n_rows, p.n_groups), "int32"),
                tensor(t_shape, p.b.activation_dtype),
                tensor(t_shape[:2]),
                tensor(t_shape[:2], "int32"),
            ],
        )
        args = [*quantized, words, scales, b, b_scale, strength, bias, residual or quantized[1]]
        return op.tensor_ir_op(get(matmul_many, p), "matmul_many", args, tensor((n_rows, p.n)))


def add_packed(module: nn.Module, layout: PackedLayout, words: tuple[int, ...], scales: tuple[int, ...]) -> None:
    """Give a module its packed weight, named after MLC's tensors."""
    name = "q_weight" if layout.integer else "weight"
    setattr(module, f"{name}.packed", nn.Parameter(words, layout.dtype))
    if layout.integer:
        setattr(module, "q_scale.packed", nn.Parameter(scales, layout.float_dtype))


def packed(module: nn.Module, absent: nn.Tensor) -> tuple[nn.Tensor, nn.Tensor]:
    """A module's packed weight and scales; `absent` in place of scales that there are none of."""
    words = getattr(module, "q_weight.packed", None)
    return (
        (words, getattr(module, "q_scale.packed")) if words is not None else (getattr(module, "weight.packed"), absent)
    )


class Norm(nn.Module):
    """The weight of an RMS norm; the norm itself is the front of the linear behind it."""

    def __init__(self, size: int) -> None:
        self.weight = nn.Parameter((size,), "float32")


class SelfAttention(nn.Module):
    """q, k, v as one projection, attention over the pool, output projection with the residual."""

    def __init__(self, plan: Plan, kernels: Kernels, name: str) -> None:
        c = plan.config
        q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        self.kernels = kernels
        self.shape = AttentionShape(plan.isa, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, plan.kv_dtype)
        self.qkv_name = QKV_NAMES[c.family]
        qkv = Linear(
            plan, kernels, f"{name}.{self.qkv_name}", c.hidden_size, (q, kv, kv), Front.RMS_NORM,
            bias=c.qkv_bias, rank="rank_qkv",
        )  # fmt: skip
        setattr(self, self.qkv_name, qkv)
        self.o_proj = Linear(
            plan, kernels, f"{name}.o_proj", q, (c.hidden_size,), Front.PLAIN,
            bias=c.o_bias, residual=True, rank="rank_o",
        )  # fmt: skip

    def forward(self, hidden: nn.Tensor, norm: nn.Tensor, chunk: Chunk, layer: int) -> nn.Tensor:
        """`hidden [M, hidden_size]` to the same with attention added; the chunk's pools are updated."""
        s, n_rows = self.shape, hidden.shape[0]
        qkv = getattr(self, self.qkv_name)(hidden, chunk.strength, norm=norm)
        width = s.n_heads * s.head_dim
        args = [
            qkv, chunk.cos, chunk.sin, chunk.positions, chunk.table, chunk.keys, chunk.values,
            tirx.IntImm("int64", layer),
        ]  # fmt: skip
        out, chunk.keys, chunk.values, _ = op.tensor_ir_inplace_op(
            self.kernels.get(attention, s, is_one(n_rows)),
            "attention",
            args,
            [-1, 5, 6, -1],
            [tensor((n_rows, width)), chunk.keys, chunk.values, tensor((n_rows, width))],
        )
        return self.o_proj(out, chunk.strength, residual=hidden)


class Mlp(nn.Module):
    """gate and up as one projection, SwiGLU, down with the residual."""

    def __init__(self, plan: Plan, kernels: Kernels, name: str) -> None:
        c = plan.config
        inter = (c.intermediate_size, c.intermediate_size)
        self.gate_up_proj = Linear(
            plan, kernels, f"{name}.gate_up_proj", c.hidden_size, inter, Front.RMS_NORM,
            bias=c.mlp_bias, rank="rank_gate_up",
        )  # fmt: skip
        self.down_proj = Linear(
            plan, kernels, f"{name}.down_proj", c.intermediate_size, (c.hidden_size,), Front.SWIGLU,
            bias=c.mlp_bias, residual=True, rank="rank_down",
        )  # fmt: skip

    def forward(self, hidden: nn.Tensor, norm: nn.Tensor, chunk: Chunk) -> nn.Tensor:
        """`hidden [M, hidden_size]` to the same with the MLP added."""
        gate_up = self.gate_up_proj(hidden, chunk.strength, norm=norm)
        return self.down_proj(gate_up, chunk.strength, residual=hidden)


class Block(nn.Module):
    """One layer."""

    def __init__(self, plan: Plan, kernels: Kernels, name: str) -> None:
        self.input_layernorm = Norm(plan.config.hidden_size)
        self.self_attn = SelfAttention(plan, kernels, f"{name}.self_attn")
        self.post_attention_layernorm = Norm(plan.config.hidden_size)
        self.mlp = Mlp(plan, kernels, f"{name}.mlp")

    def forward(self, hidden: nn.Tensor, chunk: Chunk, layer: int) -> nn.Tensor:
        """`hidden [M, hidden_size]` through the layer."""
        hidden = self.self_attn(hidden, self.input_layernorm.weight, chunk, layer)
        return self.mlp(hidden, self.post_attention_layernorm.weight, chunk)


class Embedding(nn.Module):
    """Token embeddings, in the layout of an output head, which they may also be."""

    def __init__(self, plan: Plan, kernels: Kernels) -> None:
        c = plan.config
        self.kernels, self.plan = kernels, plan
        blocks = (padded(c.vocab_size) // plan.weight.block, c.hidden_size // plan.weight.group)
        add_packed(self, plan.weight, (*blocks, plan.weight.words, plan.weight.block), (*blocks, plan.weight.block))

    def forward(self, ids: nn.Tensor, absent: nn.Tensor) -> nn.Tensor:
        """`ids [M] int32` to `[M, hidden_size] float32`."""
        c = self.plan.config
        kernel = self.kernels.get(embedding, self.plan.weight, padded(c.vocab_size), c.hidden_size)
        words, scales = packed(self, absent)
        return op.tensor_ir_op(kernel, "embedding", [ids, words, scales], tensor((ids.shape[0], c.hidden_size)))


class Model(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, plan: Plan, kernels: Kernels) -> None:
        self.embed_tokens = Embedding(plan, kernels)
        self.layers = nn.ModuleList([Block(plan, kernels, f"model.layers.{n}") for n in range(plan.config.n_layers)])
        self.norm = Norm(plan.config.hidden_size)


@dataclass
class Chunk:
    """What all layers share while the graph is built; the pools' values change from layer to layer."""

    positions: nn.Tensor
    table: nn.Tensor
    keys: nn.Tensor
    values: nn.Tensor
    cos: nn.Tensor
    sin: nn.Tensor
    strength: nn.Tensor


class Decoder(nn.Module):
    """The functions that the library offers: `decode`, `prefill` and `verify`."""

    def __init__(self, plan: Plan) -> None:
        c = plan.config
        self.plan, self.kernels = plan, Kernels()
        self.model = Model(plan, self.kernels)
        self.lm_head = Linear(plan, self.kernels, "lm_head", c.hidden_size, (c.vocab_size,), Front.RMS_NORM)
        if c.tied_embeddings:  # the head computes with the embedding's weights and has none of its own
            for name in [name for name in vars(self.lm_head) if name.endswith(".packed")]:
                delattr(self.lm_head, name)

    def decode(
        self, ids: nn.Tensor, positions: nn.Tensor, table: nn.Tensor, keys: nn.Tensor, values: nn.Tensor, cos: nn.Tensor, sin: nn.Tensor, strength: nn.Tensor
    ) -> tuple[nn.Tensor, ...]:  # fmt: skip
        """One row."""
        return self._logits(self._trunk(ids, Chunk(positions, table, keys, values, cos, sin, strength)), strength)

    def verify(
        self, ids: nn.Tensor, positions: nn.Tensor, table: nn.Tensor, keys: nn.Tensor, values: nn.Tensor, cos: nn.Tensor, sin: nn.Tensor, strength: nn.Tensor
    ) -> tuple[nn.Tensor, ...]:  # fmt: skip
        """Many rows, logits of all."""
        return self._logits(self._trunk(ids, Chunk(positions, table, keys, values, cos, sin, strength)), strength)

    def prefill(
        self, ids: nn.Tensor, positions: nn.Tensor, table: nn.Tensor, keys: nn.Tensor, values: nn.Tensor, cos: nn.Tensor, sin: nn.Tensor, strength: nn.Tensor
    ) -> tuple[nn.Tensor, ...]:  # fmt: skip
        """Many rows, logits of the last."""
        hidden = self._trunk(ids, Chunk(positions, table, keys, values, cos, sin, strength))
        kernel = self.kernels.get(last_row, self.plan.config.hidden_size)
        last = op.tensor_ir_op(kernel, "last_row", [hidden], tensor((1, self.plan.config.hidden_size)))
        return self._logits(last, strength)

    def _trunk(self, ids: nn.Tensor, chunk: Chunk) -> nn.Tensor:
        hidden = self.model.embed_tokens(ids, chunk.strength)
        for n, block in enumerate(self.model.layers):
            hidden = block(hidden, chunk, n)
        return hidden

    def _logits(self, hidden: nn.Tensor, strength: nn.Tensor) -> tuple[nn.Tensor, ...]:
        c, n_rows = self.plan.config, hidden.shape[0]
        weight = self.model.embed_tokens if c.tied_embeddings else None
        logits = self.lm_head(hidden, strength, norm=self.model.norm.weight, weight=weight)
        scratch = tensor((n_rows, n_chunks(c.vocab_size)))
        greedy, normalizer, _, _ = op.tensor_ir_op(
            self.kernels.get(summarize, c.vocab_size, self.lm_head.p.n),
            "summarize",
            [logits],
            [tensor((n_rows,), "int32"), tensor((n_rows,)), scratch, scratch],
        )
        return logits, greedy, normalizer


def input_specs(plan: Plan, n_rows: int | str) -> dict[str, Any]:
    """Types of a function's arguments before the packed parameters, in order."""
    c = plan.config
    keys, values = AttentionShape(plan.isa, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, plan.kv_dtype).pool_shapes(
        "n_pages"
    )
    half = c.head_dim // 2
    return {
        "ids": spec.Tensor([n_rows], "int32"),
        "positions": spec.Tensor([n_rows], "int32"),
        "table": spec.Tensor(["n_table"], "int32"),
        "keys": spec.Tensor(list(keys), plan.kv_dtype),
        "values": spec.Tensor(list(values), plan.kv_dtype),
        "cos": spec.Tensor(["n_positions", half], "float32"),
        "sin": spec.Tensor(["n_positions", half], "float32"),
        "strength": spec.Tensor([1], "float32"),
        "$": {"param_mode": "packed", "effect_mode": "none"},
    }


def export(plan: Plan) -> tuple[Any, list[tuple[str, nn.Parameter]]]:
    """The decoder's functions as an IRModule, and its parameters in the order in which they are passed."""
    rows: dict[str, int | str] = {"decode": 1, "prefill": "n_rows", "verify": "n_rows"}
    return Decoder(plan).export_tvm({name: input_specs(plan, n) for name, n in rows.items()})


def linear_parts(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Outputs of the fused linears behind each module that has packed weights, by its name."""
    c = plan.config
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    parts = {"model.embed_tokens": (c.vocab_size,), "lm_head": (c.vocab_size,)}
    for n in range(c.n_layers):
        layer = f"model.layers.{n}"
        parts[f"{layer}.self_attn.{QKV_NAMES[c.family]}"] = (q, kv, kv)
        parts[f"{layer}.self_attn.o_proj"] = (c.hidden_size,)
        parts[f"{layer}.mlp.gate_up_proj"] = (c.intermediate_size, c.intermediate_size)
        parts[f"{layer}.mlp.down_proj"] = (c.hidden_size,)
    return parts
