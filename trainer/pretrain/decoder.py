"""A Llama-shaped decoder in plain PyTorch. Parameter names are Hugging Face's, so that exporting is saving."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.head_loss import HeadLoss


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a decoder. Widths are multiples of 32 and heads 64 wide, which the runtime's kernels like best."""

    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    head_dim: int = 64
    context_tokens: int = 2048
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


SHAPES = {
    "tiny": Shape(64, 96, 2, 1, 1, 512),  # for tests
    "3m": Shape(192, 512, 5, 3, 1, 8192),  # an hour of a busy CPU
    "5m": Shape(256, 640, 5, 4, 2, 8192),  # an hour or two of an idle CPU
    "10m": Shape(320, 864, 9, 5, 1, 8192),  # a night of a CPU
    "45m": Shape(512, 1536, 12, 8, 4, 16384),  # ten minutes of a big GPU
}


class RmsNorm(nn.RMSNorm):
    """PyTorch's, with its weight in the input's type: under autocast the fused kernel wants them alike."""

    def forward(self, x: Tensor) -> Tensor:
        """`[..., hidden]` to the same."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Causal self-attention with grouped heads and rotary positions (Llama's half-split layout)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = shape.n_heads, shape.n_kv_heads, shape.head_dim
        wide, narrow = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, wide, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, narrow, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, narrow, bias=False)
        self.o_proj = nn.Linear(wide, shape.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`x [B, T, hidden]`, `cos` and `sin` `[T, head_dim / 2]`. One product makes q, k and v: narrow ones waste a CPU."""
        n_batch, n_tokens, _ = x.shape
        qkv = F.linear(x, torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)))
        qkv = qkv.view(n_batch, n_tokens, -1, self.head_dim).transpose(1, 2)
        q, k, v = torch.split(qkv, [self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        mixed = _attend(q, k, v)
        return F.linear(mixed.transpose(1, 2).reshape(n_batch, n_tokens, -1), self.o_proj.weight)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, hidden]` to the same."""
        gate, up = F.linear(x, torch.cat((self.gate_proj.weight, self.up_proj.weight))).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, self.down_proj.weight)


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and added."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = RmsNorm(shape.hidden_size, shape.norm_eps)
        self.post_attention_layernorm = RmsNorm(shape.hidden_size, shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`[B, T, hidden]` to the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class _Model(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.n_layers))
        self.norm = RmsNorm(shape.hidden_size, shape.norm_eps)


class Decoder(nn.Module):
    """Token ids to logits; the head is the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Model(shape)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                # Llama's 0.02 for a hidden size of about 2,500; branches that are added start smaller (GPT-2).
                std = shape.hidden_size**-0.5 * (0.5 if "embed" not in name else 1.0)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std /= (2 * shape.n_layers) ** 0.5
                nn.init.normal_(weight, std=std)

    def hidden(self, token_ids: Tensor) -> Tensor:
        """`[B, T] int64` to `[B, T, hidden]`, normed."""
        x = self.model.embed_tokens(token_ids)
        half = torch.arange(0, self.shape.head_dim, 2, device=x.device, dtype=torch.float32)
        positions = torch.arange(token_ids.shape[1], device=x.device, dtype=torch.float32)
        angles = torch.outer(positions, self.shape.rope_theta ** (-half / self.shape.head_dim))
        cos, sin = angles.cos(), angles.sin()
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, cos, sin = x.to(dtype), cos.to(dtype), sin.to(dtype)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        normed: Tensor = self.model.norm(x)
        return normed

    def forward(self, token_ids: Tensor) -> Tensor:
        """`[B, T] int64` to logits `[B, T, vocab]`."""
        return F.linear(self.hidden(token_ids), self.model.embed_tokens.weight)


def weighted_loss(model: Decoder, token_ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of weight times nats, sum of weights) of predicting each id `[B, T]` after the ones before it."""
    hidden = model.hidden(token_ids[:, :-1]).flatten(0, 1)
    wanted = weights[:, 1:].flatten()
    head = model.model.embed_tokens.weight
    loss: Tensor = HeadLoss.apply(hidden, head, token_ids[:, 1:].flatten(), wanted)  # type: ignore[no-untyped-call]
    return loss, wanted.sum()


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`q [B, H, T, D]`, `k` and `v` `[B, KV, T, D]`, to `[B, H, T, D]`; every token sees itself and those before it.

    On a CPU plain products take half of the time of PyTorch's flash attention, forward and backward.
    """
    n_batch, n_heads, n_tokens, width = q.shape
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    future = torch.full((n_tokens, n_tokens), float("-inf"), dtype=q.dtype).triu(1)
    grouped = q.reshape(n_batch, k.shape[1], -1, width)
    scores = grouped @ (k * width**-0.5).transpose(-1, -2)
    scores = scores.view(n_batch, k.shape[1], -1, n_tokens, n_tokens) + future
    mixed = torch.softmax(scores, dim=-1, dtype=q.dtype).view(n_batch, k.shape[1], -1, n_tokens) @ v
    return mixed.view(n_batch, n_heads, n_tokens, width)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
