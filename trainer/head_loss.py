"""Head and cross-entropy as one: the logits of a few hundred tokens at a time, never of all.

A small decoder with a vocabulary of thousands spends half of its time in the memory traffic of logits. Here a chunk's
logits stay in the cache until loss and gradients are made of them (as Liger's fused linear cross-entropy does).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_TOKENS = {"cpu": 256, "mps": 2048, "cuda": 8192}


class HeadLoss(torch.autograd.Function):
    """Sum of weight times nats of predicting `targets [N]` from `hidden [N, D]` with the head `embedding [V, D]`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Products are computed in `hidden`'s type, the loss and the gradient of `embedding` in float32.

        An embedding that is frozen gets no gradient, and none is computed.
        """
        head = embedding.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        d_head = torch.zeros_like(embedding) if ctx.needs_input_grad[1] else None
        loss = torch.zeros((), device=hidden.device)
        n_chunk = CHUNK_TOKENS[hidden.device.type]
        for start in range(0, len(hidden), n_chunk):
            h, t, w = (x[start : start + n_chunk] for x in (hidden, targets, weights))
            logits = (h @ head.T).float()
            log_total = logits.logsumexp(dim=1)
            loss += ((log_total - logits.gather(1, t[:, None])[:, 0]) * w).sum()
            slope = logits.sub_(log_total[:, None]).exp_()  # probabilities, less 1 at the target
            slope[torch.arange(len(t), device=t.device), t] -= 1
            slope = slope.mul_(w[:, None]).to(hidden.dtype)
            d_hidden[start : start + n_chunk] = slope @ head
            if d_head is not None:
                d_head += slope.T @ h
        ctx.save_for_backward(d_hidden, d_head)
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """The gradients were made on the way forward."""
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * slopes[0], None if d_head is None else d_head * slopes[0], None, None


class HeadDivergence(torch.autograd.Function):
    """Sum of weight times the Kullback-Leibler divergence, in nats, of what `hidden [N, D]` predicts from what `reference [N, D]` does."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
        """Both through the frozen head `embedding [V, D]`, which gets no gradient, nor does `reference`."""
        head = embedding.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        divergence = torch.zeros((), device=hidden.device)
        n_chunk = CHUNK_TOKENS[hidden.device.type]
        for start in range(0, len(hidden), n_chunk):
            h, r, w = (x[start : start + n_chunk] for x in (hidden, reference, weights))
            ours, theirs = ((x @ head.T).float().log_softmax(dim=1) for x in (h, r))
            wanted = theirs.exp()
            divergence += ((wanted * (theirs - ours)).sum(dim=1) * w).sum()
            slope = ours.exp_().sub_(wanted).mul_(w[:, None]).to(hidden.dtype)
            d_hidden[start : start + n_chunk] = slope @ head
        ctx.save_for_backward(d_hidden)
        return divergence

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient was made on the way forward."""
        (d_hidden,) = ctx.saved_tensors
        return d_hidden * slopes[0], None, None, None
