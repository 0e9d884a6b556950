"""A decoder in the compiler's terms: its projections, and the list of tensors that every call takes.

The kernels find their tensors through a table of addresses, one for each parameter in order: first those of the whole
model, then the same list for every layer, at last the adapter's rank, in blocks of 16, of each kind of linear. So a
forward has no argument to check for each tensor, and choosing another adapter is choosing another table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from local_runtime.tvm.build.activations import Front
from local_runtime.tvm.build.attention import AttentionShape
from local_runtime.tvm.build.isa import Instructions
from local_runtime.tvm.build.layout import PackedLayout, adapter_layouts, check_inputs, weight_layout
from local_runtime.tvm.build.projection import Projection
from local_runtime.tvm.run.library import RANK_SYMBOLS, Parameter
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import NAMES, Linear, Names, layer_linears
from local_runtime.model.quantization import Quantization


@dataclass(frozen=True)
class Plan:
    """What a forward is built from. Raises BuildFailed for a shape without kernels."""

    config: DecoderConfig
    quantization: Quantization
    isa: Instructions
    kv_dtype: str

    @cached_property
    def weight(self) -> PackedLayout:
        """Layout of all weights."""
        return weight_layout(self.quantization, self.isa)

    @cached_property
    def attention(self) -> AttentionShape:
        """What the attention kernels depend on."""
        c = self.config
        return AttentionShape(
            self.isa,
            c.n_layers,
            c.n_heads,
            c.n_kv_heads,
            c.head_dim,
            self.kv_dtype,
            one_linear=len(self.names.qkv_parts) == 1,
            window=c.sliding_window,
            multiplier=c.attention_multiplier,
            norm_eps=c.norm_eps if c.qk_norm else 0.0,
        )

    @cached_property
    def projections(self) -> dict[str, Projection]:
        """The linears of a layer by MLC's names within it."""
        c = self.config
        qkv, o, up, down = layer_linears(c)
        return {
            qkv.name: self._projection(qkv, self.norm),
            o.name: self._projection(o, Front.PLAIN, residual=True, scale=c.residual_multiplier),
            up.name: self._projection(up, self.norm),
            down.name: self._projection(down, Front(c.activation), residual=True, scale=c.residual_multiplier),
        }

    @cached_property
    def head(self) -> Projection:
        """The output head."""
        return self._table(self.config.vocab_size, 1.0 / self.config.logits_divisor)

    @cached_property
    def positions(self) -> Projection | None:
        """The table of learned positions, which is packed like a linear."""
        return self._table(self.config.learned_positions) if self.config.learned_positions else None

    @property
    def names(self) -> Names:
        """What the tensors are called."""
        return NAMES[self.config.family]

    @property
    def norm(self) -> Front:
        """The front of what follows a norm."""
        return Front.LAYER_NORM if self.config.layer_norm else Front.RMS_NORM

    @cached_property
    def model_parameters(self) -> tuple[Parameter, ...]:
        """Parameters of the whole model."""
        head = () if self.config.tied_embeddings else packed_weight(self.names.head, self.head)
        positions = packed_weight(self.names.positions, self.positions) if self.positions else ()
        norm = self._norm_parameters(self.names.norm)
        return (*packed_weight(self.names.embedding, self.head), *positions, *head, *norm)

    @cached_property
    def layer_parameters(self) -> tuple[Parameter, ...]:
        """Parameters of one layer, by names within it."""
        norms = [*self._norm_parameters(self.names.attention_norm), *self._norm_parameters(self.names.mlp_norm)]
        if self.config.qk_norm:
            norms += [vector(f"{name}.weight", self.config.head_dim) for name in (self.names.q_norm, self.names.k_norm)]
        linears = [
            parameter
            for (name, p), rank in zip(self.projections.items(), RANK_SYMBOLS, strict=True)
            for parameter in (*packed_weight(name, p), *bias(name, p), *adapter(name, p, rank))
        ]
        return (*norms, *linears)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in order."""
        layers = (
            Parameter(f"{self.names.layers}.{n}.{p.name}", p.shape, p.dtype, p.parts)
            for n in range(self.config.n_layers)
            for p in self.layer_parameters
        )
        return (*self.model_parameters, *layers)

    @property
    def n_addresses(self) -> int:
        """Length of the table: an address for each parameter, then the ranks."""
        return len(self.parameters) + len(RANK_SYMBOLS)

    def model_index(self, name: str) -> int:
        """Place of a parameter of the whole model; 0, which nobody reads, for one that it does not have."""
        return next((i for i, p in enumerate(self.model_parameters) if p.name == name), 0)

    def layer_index(self, name: str) -> int | None:
        """Place of a parameter within its layer's list; None for one that layers do not have."""
        return next((i for i, p in enumerate(self.layer_parameters) if p.name == name), None)

    def _norm_parameters(self, name: str) -> list[Parameter]:
        ends = ("weight", "bias") if self.config.layer_norm else ("weight",)
        return [vector(f"{name}.{end}", self.config.hidden_size) for end in ends]

    def _table(self, n_rows: int, scale: float = 1.0) -> Projection:
        """A matrix `[n_rows, hidden]` without adapter and bias: the embedding, a head."""
        linear = Linear("", self.config.hidden_size, {"": n_rows}, bias=False)
        return self._projection(linear, self.norm, adapter=False, scale=scale)

    def _projection(
        self, linear: Linear, front: Front, *, residual: bool = False, adapter: bool = True, scale: float = 1.0
    ) -> Projection:
        check_inputs(linear.n_in)
        a, b = adapter_layouts(self.quantization, self.isa)
        parts = tuple(linear.parts.values())
        return Projection(
            self.isa, linear.n_in, parts, front, self.config.norm_eps, self.weight, a, b, adapter, linear.bias, residual, scale
        )  # fmt: skip


def vector(name: str, size: int) -> Parameter:
    """A vector that is taken as it is."""
    return Parameter(name, (size,), "float32", ())


def packed_weight(name: str, p: Projection) -> tuple[Parameter, ...]:
    """Words of a weight, and its scales where it has integers."""
    if not p.weight.integer:
        return (Parameter(f"{name}.weight.packed", p.weight_shape(), p.weight.dtype, p.parts),)
    return (
        Parameter(f"{name}.q_weight.packed", p.weight_shape(), p.weight.dtype, p.parts),
        Parameter(f"{name}.q_scale.packed", p.scale_shape(), p.scale_dtype, p.parts),
    )


def bias(name: str, p: Projection) -> tuple[Parameter, ...]:
    """The bias, if there is one."""
    return (Parameter(f"{name}.bias.packed", (p.n,), "float32", p.parts),) if p.bias else ()


def adapter(name: str, p: Projection, rank: str) -> tuple[Parameter, ...]:
    """A and B, and their scales where they are integers."""
    sides = (("a", p.a_shape(rank), p.a_scale_shape(rank)), ("b", p.b_shape(rank), p.b_scale_shape(rank)))
    return tuple(
        Parameter(f"{name}.lora_{side}.{what}", shape, dtype, p.parts)
        for side, words, scales in sides
        for what, shape, dtype in (("words", words, p.a_dtype), ("scales", scales, p.adapter_scale_dtype))
        if what == "words" or p.a.integer
    )
