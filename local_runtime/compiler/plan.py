"""A decoder in the compiler's terms: its projections, and the list of tensors that every call takes.

The kernels find their tensors through a table of addresses, one for each parameter in order: first those of the whole
model, then the same list for every layer, at last the adapter's rank, in blocks of 16, of each kind of linear. So a
forward has no argument to check for each tensor, and choosing another adapter is choosing another table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from local_runtime.compiler.activations import Front
from local_runtime.compiler.attention import AttentionShape
from local_runtime.compiler.isa import Instructions
from local_runtime.compiler.layout import PackedLayout, adapter_layouts, check_inputs, weight_layout
from local_runtime.compiler.projection import Projection
from local_runtime.library import RANK_SYMBOLS, Parameter
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import QKV_NAMES
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
        return AttentionShape(self.isa, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, self.kv_dtype)

    @cached_property
    def projections(self) -> dict[str, Projection]:
        """The linears of a layer by MLC's names within it."""
        c = self.config
        q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        inter = (c.intermediate_size, c.intermediate_size)
        return {
            f"self_attn.{QKV_NAMES[c.family]}": self._projection(
                c.hidden_size, (q, kv, kv), Front.RMS_NORM, c.qkv_bias
            ),
            "self_attn.o_proj": self._projection(q, (c.hidden_size,), Front.PLAIN, c.o_bias),
            "mlp.gate_up_proj": self._projection(c.hidden_size, inter, Front.RMS_NORM, c.mlp_bias),
            "mlp.down_proj": self._projection(c.intermediate_size, (c.hidden_size,), Front.SWIGLU, c.mlp_bias),
        }

    @cached_property
    def head(self) -> Projection:
        """The output head."""
        return self._projection(
            self.config.hidden_size, (self.config.vocab_size,), Front.RMS_NORM, False, adapter=False
        )

    @cached_property
    def model_parameters(self) -> tuple[Parameter, ...]:
        """Parameters of the whole model."""
        norm = Parameter("model.norm.weight", (self.config.hidden_size,), "float32", ())
        head = () if self.config.tied_embeddings else packed_weight("lm_head", self.head)
        return (*packed_weight("model.embed_tokens", self.head), *head, norm)

    @cached_property
    def layer_parameters(self) -> tuple[Parameter, ...]:
        """Parameters of one layer, by names within it."""
        norms = [
            Parameter(f"{name}.weight", (self.config.hidden_size,), "float32", ())
            for name in ("input_layernorm", "post_attention_layernorm")
        ]
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
            Parameter(f"model.layers.{n}.{p.name}", p.shape, p.dtype, p.parts)
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

    def _projection(
        self, k: int, parts: tuple[int, ...], front: Front, has_bias: bool, adapter: bool = True
    ) -> Projection:
        check_inputs(k)
        a, b = adapter_layouts(self.quantization, self.isa)
        residual = front in (Front.PLAIN, Front.SWIGLU)
        return Projection(
            self.isa, k, parts, front, self.config.norm_eps, self.weight, a, b, adapter, has_bias, residual
        )


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
