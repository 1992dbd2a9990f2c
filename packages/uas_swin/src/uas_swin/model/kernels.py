"""softmax(scale q k^T + mask) v for windows, by fused kernels, also where the mask is trained.

Shapes: B clips, W windows of a clip, H heads, N tokens of a window, d channels of a head. The mask
is (W, H, N, N), or (1, H, N, N) for all windows.

The fused kernel of the CPU takes a mask for a constant. Where the table of position biases is
trained, the backward pass is done here, a few windows at a time, so that what has the size of the
logits stays in the cache and is never kept. With P = softmax(S), S = scale q k^T + mask and the
gradient dO of the output (Dao et al. 2022, FlashAttention, appendix B):

dV = P^T dO,  dS = P * (dO V^T - rowsum(dO * O)),  dQ = scale dS K,  dK = scale dS^T Q.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHED = 1 << 20
"""Logits at a time."""


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, dropout: float = 0.0
) -> Tensor:
    """Attention of every window to itself.

    Args:
        q: (B * W, H, N, d).
        k: (B * W, H, N, d).
        v: (B * W, H, N, d).
        mask: (W, H, N, N) or (1, H, N, N).
        scale: Of the queries.
        dropout: Share of the weights that are dropped.

    Returns:
        (B * W, H, N, d).
    """
    if mask.requires_grad and mask.device.type == "cpu" and dropout == 0:
        return _LearnedMask.apply(q, k, v, mask, scale)  # type: ignore[no-any-return]
    return _fused(q, k, v, mask, scale, dropout)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, dropout: float) -> Tensor:
    if len(mask) in (1, len(q)):
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=scale)
    # Windows and heads on one axis: the kernels repeat a mask along the clips for nothing.
    n_windows, (n_rows, n_heads, N, d) = len(mask), q.shape
    q, k, v = (t.reshape(-1, n_windows * n_heads, N, d) for t in (q, k, v))
    mask = mask.view(1, -1, N, N)
    out = F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=scale)
    return out.reshape(n_rows, n_heads, N, d)


class _LearnedMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        out = _fused(q, k, v, mask.detach(), scale, 0.0)
        ctx.save_for_backward(mask, q, k, v, out)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        mask, *rows = ctx.saved_tensors
        q, k, v, out, grad = (t.unflatten(0, (-1, len(mask))) for t in (*rows, grad))  # B, W, ...
        grads = [torch.empty_like(t) for t in (q, k, v)]
        grad_q, grad_k, grad_v = grads
        grad_mask = torch.zeros_like(mask)
        for clips, windows, heads in _parts(q):
            here, masked = (clips, windows, heads), (windows, heads)
            logits = (q[here] * ctx.scale) @ k[here].transpose(-2, -1)
            weights = logits.add_(mask[masked]).softmax(-1)
            grad_v[here] = weights.transpose(-2, -1) @ grad[here]
            grad_logits = grad[here] @ v[here].transpose(-2, -1)
            grad_logits -= (grad[here] * out[here]).sum(-1, keepdim=True)
            grad_logits *= weights
            grad_mask[masked] += grad_logits.sum(0)
            grad_q[here] = grad_logits @ k[here]
            grad_k[here] = grad_logits.transpose(-2, -1) @ q[here]
        grad_q *= ctx.scale
        grad_k *= ctx.scale
        return (*(t.flatten(0, 1) for t in grads), grad_mask, None)


def _parts(q: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of clips, windows and heads of (B, W, H, N, d) whose logits fit into the cache."""
    room = CACHED // q.shape[3] ** 2
    slices = []
    for size in (q.shape[2], q.shape[1], q.shape[0]):
        step = min(max(room, 1), size)
        slices.append([slice(at, at + step) for at in range(0, size, step)])
        room //= size
    heads, windows, clips = slices
    return product(clips, windows, heads)
