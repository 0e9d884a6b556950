"""The tensors of a decoder: MLC's fused ones, and the rows of each that hold one of Hugging Face's separate ones.

MLC fuses q, k, v and gate, up by stacking rows. A PEFT target such as `q_proj` is found by its Hugging Face name: its
place is `Fused.rows_of("model.layers.0.self_attn.q_proj.weight")`. Names: mlc_llm's `*_loader.py`; shapes `[out, in]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from local_runtime.model.decoder_config import DecoderConfig

QKV_NAMES = {"llama": "qkv_proj", "qwen2": "c_attn"}
"""What MLC calls the fused q, k, v projection of each family."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of Hugging Face's tensors, as rows `[start, stop)` of a fused one."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Fused:
    """One of MLC's tensors before quantisation."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    quantized: bool
    """Whether a group quantisation applies: linears and the embedding, never norms and biases."""

    def part_shape(self, part: Part) -> tuple[int, ...]:
        """Shape of one of Hugging Face's tensors."""
        return (part.stop - part.start, *self.shape[1:])

    def rows_of(self, huggingface_name: str) -> slice:
        """Where a tensor lies. Raises KeyError for one that is not in here."""
        for part in self.parts:
            if part.name == huggingface_name:
                return slice(part.start, part.stop)
        raise KeyError(huggingface_name)


def fused_tensors(config: DecoderConfig) -> Iterator[Fused]:
    """All tensors of a decoder, in the order in which the forward meets them."""
    hidden, inter, qkv = config.hidden_size, config.intermediate_size, QKV_NAMES[config.family]
    q_rows, kv_rows = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    yield _stack(
        "model.embed_tokens.weight", (hidden,), {"model.embed_tokens.weight": config.vocab_size}, quantized=True
    )
    for n in range(config.n_layers):
        layer = f"model.layers.{n}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        qkv_parts = {f"{attention}.{part}_proj": rows for part, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows))}
        yield _norm(f"{layer}.input_layernorm.weight", hidden)
        yield from _linear(f"{attention}.{qkv}", hidden, qkv_parts, config.qkv_bias)
        yield from _linear(f"{attention}.o_proj", q_rows, {f"{attention}.o_proj": hidden}, config.o_bias)
        yield _norm(f"{layer}.post_attention_layernorm.weight", hidden)
        gate_up = {f"{mlp}.gate_proj": inter, f"{mlp}.up_proj": inter}
        yield from _linear(f"{mlp}.gate_up_proj", hidden, gate_up, config.mlp_bias)
        yield from _linear(f"{mlp}.down_proj", inter, {f"{mlp}.down_proj": hidden}, config.mlp_bias)
    yield _norm("model.norm.weight", hidden)
    if not config.tied_embeddings:
        yield from _linear("lm_head", hidden, {"lm_head": config.vocab_size}, bias=False)


def _linear(name: str, n_in: int, parts: dict[str, int], bias: bool) -> Iterator[Fused]:
    """A linear's weight `[sum of rows, n_in]` and, with `bias`, its bias `[sum of rows]`."""
    yield _stack(f"{name}.weight", (n_in,), {f"{part}.weight": rows for part, rows in parts.items()}, quantized=True)
    if bias:
        yield _stack(f"{name}.bias", (), {f"{part}.bias": rows for part, rows in parts.items()}, quantized=False)


def _norm(name: str, size: int) -> Fused:
    return _stack(name, (), {name: size}, quantized=False)


def _stack(name: str, tail: tuple[int, ...], rows: dict[str, int], *, quantized: bool) -> Fused:
    parts, start = [], 0
    for part, n_rows in rows.items():
        parts.append(Part(part, start, start + n_rows))
        start += n_rows
    return Fused(name, (start, *tail), tuple(parts), quantized)
