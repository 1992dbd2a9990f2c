"""Attention whose logits above the diagonal are 0 instead of minus infinity.

The published TCA multiplies the logits by a triangle of ones before the softmax: tokens behind a
query keep the weight exp(0). M tokens, d features of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

FUSED_FROM = 400
"""Tokens from which the fused way pays (forward 1.2 to 2.5 times as fast at 577, 0.8 at 197)."""

_PADDING = 8  # features; fused kernels want multiples of 8


def lower_triangular_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Weights softmax(tril(q k^T / sqrt(d))) on the values.

    Args:
        q: (..., M, d).
        k: (..., M, d).
        v: (..., M, d).

    Returns:
        (..., M, d).
    """
    if q.shape[-2] >= FUSED_FROM:
        return fused(q, k, v)
    return plain(q, k, v)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As it is written: all M x M logits at once."""
    flat_q, flat_k, flat_v = (x.flatten(0, -3) for x in (q, k, v))  # products of 5-D cost copies
    weights = (_scaled(flat_q) @ flat_k.mT).tril().softmax(-1)
    return (weights @ flat_v).view(q.shape)


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same from causal attention, without a matrix of logits in memory.

    With Z_i the sum of exp(a_ij) over j <= i, row i is::

        (sum_{j<=i} exp(a_ij) v_j + sum_{j>i} v_j) / (Z_i + M - 1 - i)

    Causal attention gives the first sum over Z_i, but not Z_i. So one more key that every query
    sees goes to the front, with logit 0 and a value of zeros but for one extra feature of 1: the
    result is the sum over Z_i + 1, and in the extra feature stands s_i = 1 / (Z_i + 1). Then
    row i = (result_i + s_i sum_{j>i} v_j) / (1 + s_i (M - 2 - i)). In the last row that would be
    1 - s_i, the difference of nearly equal numbers when Z is small; it is ordinary attention.
    """
    *lead, n_tokens, d = q.shape
    flat_q, flat_k, flat_v = (x.reshape(-1, 1, n_tokens, d) for x in (q, k, v))
    of_sink = F.one_hot(torch.tensor(d), d + _PADDING).to(v)
    out = F.scaled_dot_product_attention(
        _with_sink(flat_q[..., :-1, :]),
        _with_sink(flat_k[..., :-1, :]),
        _with_sink(flat_v[..., :-1, :], of_sink),
        is_causal=True,
        scale=d**-0.5,
    )[..., 1:, :]
    result, share = out[..., :d], out[..., d : d + 1]
    later = flat_v.flip(-2).cumsum(-2).flip(-2)[..., 1:, :]
    n_later = torch.arange(n_tokens - 2, -1, -1, device=q.device, dtype=share.dtype)
    rows = (result + share * later) / (1 + share * n_later[:, None])
    last = (_scaled(flat_q[..., -1:, :]) @ flat_k.mT).softmax(-1) @ flat_v
    return torch.cat([rows, last], dim=-2).view(*lead, n_tokens, d)


def some_rows(q: Tensor, k: Tensor, v: Tensor, token: Tensor) -> Tensor:
    """The same of some queries only.

    Args:
        q: (B, T, h, d), or (B, T, h, 1, d) with keys of their own.
        k: (B, T, M, d), or (B, T, h, M, d).
        v: As ``k``.
        token: (T, h), place of each query among the M tokens, on the same device.

    Returns:
        Shape of ``q``.
    """
    logits = _scaled(q) @ k.mT
    above = torch.arange(k.shape[-2], device=q.device) > token[..., None]  # (T, h, M)
    if logits.ndim == 5:
        above = above[:, :, None]
    return logits.masked_fill(above, 0).softmax(-1) @ v


def _scaled(q: Tensor) -> Tensor:
    return q * q.shape[-1] ** -0.5


def _with_sink(x: Tensor, first: Tensor | None = None) -> Tensor:
    """Put ``first`` (d + 8), zeros by default, before the rows of (N, 1, M, d); pad these."""
    padded = F.pad(x, (0, _PADDING, 1, 0))
    if first is None:
        return padded
    place = torch.zeros(padded.shape[-2], 1, dtype=x.dtype, device=x.device)
    place[0] = 1
    return padded + place * first
