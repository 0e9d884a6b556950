"""The tensors of a decoder: MLC's fused ones, and the rows of each that hold one of Hugging Face's separate ones.

MLC fuses q, k, v and gate, up by stacking rows. A PEFT target such as `q_proj` is found by its Hugging Face name: its
place is `Fused.rows_of("model.layers.0.self_attn.q_proj.weight")`. Names: mlc_llm's `*_model.py` and `*_loader.py`; shapes
`[out, in]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from local_runtime.model.decoder_config import DecoderConfig


@dataclass(frozen=True, slots=True)
class Names:
    """What a family's tensors are called. `*_parts` are Hugging Face's names of what MLC fuses; all others both share."""

    qkv: str
    qkv_parts: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    """One name where Hugging Face, too, has a single linear: its rows are q, then k, then v."""
    o: str = "self_attn.o_proj"
    up: str = "mlp.gate_up_proj"
    up_parts: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    q_norm: str = "self_attn.q_norm"
    k_norm: str = "self_attn.k_norm"
    layers: str = "model.layers"
    embedding: str = "model.embed_tokens"
    positions: str = ""
    norm: str = "model.norm"
    head: str = "lm_head"
    stores_tied_head: bool = False
    """MLC's definition has a head of its own even where it equals the embedding."""


NAMES = {
    "llama": Names(qkv="self_attn.qkv_proj"),
    "granite": Names(qkv="self_attn.qkv_proj"),
    "qwen2": Names(qkv="self_attn.c_attn"),
    "qwen3": Names(qkv="self_attn.c_attn"),
    "starcoder2": Names(
        qkv="self_attn.wqkv_pack", up="mlp.c_fc", up_parts=("mlp.c_fc",), down="mlp.c_proj", stores_tied_head=True
    ),
    "gpt_bigcode": Names(
        qkv="attn.c_attn",
        qkv_parts=("attn.c_attn",),
        o="attn.c_proj",
        up="mlp.c_fc",
        up_parts=("mlp.c_fc",),
        down="mlp.c_proj",
        attention_norm="ln_1",
        mlp_norm="ln_2",
        layers="transformer.h",
        embedding="transformer.wte",
        positions="transformer.wpe",
        norm="transformer.ln_f",
        stores_tied_head=True,
    ),
}
"""By family. mlc_llm has no Granite: its tensors are called as Llama's."""


@dataclass(frozen=True, slots=True)
class Linear:
    """One of the four linears of a layer: q, k, v; attention's output; the MLP's first and last."""

    name: str
    """MLC's, within the layer."""
    n_in: int
    parts: dict[str, int]
    """Hugging Face's linears, by names within the layer, and their outputs."""
    bias: bool


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
    """Whether a group quantisation applies: linears and embeddings, never norms and biases."""
    takes_adapter: bool = False
    """Whether it is the weight of a layer's linear."""

    def part_shape(self, part: Part) -> tuple[int, ...]:
        """Shape of one of Hugging Face's tensors."""
        return (part.stop - part.start, *self.shape[1:])

    def rows_of(self, huggingface_name: str) -> slice:
        """Where a tensor lies. Raises KeyError for one that is not in here."""
        for part in self.parts:
            if part.name == huggingface_name:
                return slice(part.start, part.stop)
        raise KeyError(huggingface_name)


def layer_linears(config: DecoderConfig) -> tuple[Linear, Linear, Linear, Linear]:
    """The linears of any layer, in the order of the forward."""
    names, hidden, inter = NAMES[config.family], config.hidden_size, config.intermediate_size
    q_rows, kv_rows = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    if len(names.qkv_parts) == 1:
        qkv = {names.qkv_parts[0]: q_rows + 2 * kv_rows}
    else:
        qkv = dict(zip(names.qkv_parts, (q_rows, kv_rows, kv_rows), strict=True))
    return (
        Linear(names.qkv, hidden, qkv, config.qkv_bias),
        Linear(names.o, q_rows, {names.o: hidden}, config.o_bias),
        Linear(names.up, hidden, dict.fromkeys(names.up_parts, inter), config.mlp_bias),
        Linear(names.down, inter, {names.down: hidden}, config.mlp_bias),
    )


def fused_tensors(config: DecoderConfig) -> Iterator[Fused]:
    """All tensors of a decoder, in the order in which the forward meets them."""
    names, hidden = NAMES[config.family], config.hidden_size
    embedding = {f"{names.embedding}.weight": config.vocab_size}
    yield _stack(f"{names.embedding}.weight", (hidden,), embedding, quantized=True)
    if config.learned_positions:
        name = f"{names.positions}.weight"
        yield _stack(name, (hidden,), {name: config.learned_positions}, quantized=True)
    for n in range(config.n_layers):
        yield from _layer(config, names, f"{names.layers}.{n}.")
    yield from _norm(names.norm, config)
    if not config.tied_embeddings:
        yield _stack(f"{names.head}.weight", (hidden,), {f"{names.head}.weight": config.vocab_size}, quantized=True)
    elif names.stores_tied_head:
        yield _stack(f"{names.head}.weight", (hidden,), embedding, quantized=True)


def peft_targets(family: str, targets: Iterable[str]) -> tuple[str, ...]:
    """PEFT's `target_modules` of a family for linears that are named as Llama's are, `q_proj` to `down_proj`."""
    names = NAMES[family]
    one = {"q_proj": names.qkv_parts[0], "k_proj": names.qkv_parts[0], "v_proj": names.qkv_parts[0]}
    theirs = one | dict(zip(one, names.qkv_parts, strict=False))
    theirs |= {"o_proj": names.o, "down_proj": names.down}
    theirs |= {"gate_proj": names.up_parts[0], "up_proj": names.up_parts[-1]}
    # GPT-BigCode has a `c_proj` in attention and one in the MLP: PEFT tells them apart by the longer name.
    found = {theirs[target] for target in targets}
    ambiguous = names.o.rpartition(".")[2] == names.down.rpartition(".")[2]
    return tuple(sorted(name if ambiguous else name.rpartition(".")[2] for name in found))


def _layer(config: DecoderConfig, names: Names, layer: str) -> Iterator[Fused]:
    qkv, o, up, down = layer_linears(config)
    yield from _norm(layer + names.attention_norm, config)
    yield from _linear(qkv, layer)
    if config.qk_norm:
        yield _vector(f"{layer}{names.q_norm}.weight", config.head_dim)
        yield _vector(f"{layer}{names.k_norm}.weight", config.head_dim)
    yield from _linear(o, layer)
    yield from _norm(layer + names.mlp_norm, config)
    yield from _linear(up, layer)
    yield from _linear(down, layer)


def _linear(linear: Linear, layer: str) -> Iterator[Fused]:
    """Its weight `[sum of rows, n_in]` and, if it has one, its bias `[sum of rows]`."""
    name, rows = layer + linear.name, {layer + part: size for part, size in linear.parts.items()}
    weights = {f"{part}.weight": size for part, size in rows.items()}
    yield replace(_stack(f"{name}.weight", (linear.n_in,), weights, quantized=True), takes_adapter=True)
    if linear.bias:
        yield _stack(f"{name}.bias", (), {f"{part}.bias": size for part, size in rows.items()}, quantized=False)


def _norm(name: str, config: DecoderConfig) -> Iterator[Fused]:
    yield _vector(f"{name}.weight", config.hidden_size)
    if config.layer_norm:
        yield _vector(f"{name}.bias", config.hidden_size)


def _vector(name: str, size: int) -> Fused:
    return _stack(name, (), {name: size}, quantized=False)


def _stack(name: str, tail: tuple[int, ...], rows: dict[str, int], *, quantized: bool) -> Fused:
    parts, start = [], 0
    for part, n_rows in rows.items():
        parts.append(Part(part, start, start + n_rows))
        start += n_rows
    return Fused(name, (start, *tail), tuple(parts), quantized)
