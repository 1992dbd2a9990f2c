"""Contrastive losses against a queue of negatives (SkeletonCLR; MoCo, He et al., CVPR 2020).

Letters: N sequences, D features, K negatives.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from hysp.hyperbolic import TINY, distance_of_gap, exp_map, exp_map_fixed
from hysp.losses import LAMBDA_MARGIN

NEAR = 1e-3
"""Squared distance, as a share of the squared lengths, below which the Gram identity has lost
three digits and the difference is taken instead."""

PAIRS_AT_ONCE = 4096
"""Near pairs that are looked at together: bounds the memory if all points fall together."""


def euclidean_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Which of the K + 1 keys is mine, by cosine similarity.

    Args:
        q: (N, D) queries of length 1.
        k: (N, D) their keys, of length 1.
        queue: (D, K) negatives of length 1.
        temperature: Divides the similarities.

    Returns:
        The mean cross-entropy, in the dtype of the queries.
    """
    with torch.autocast(q.device.type, enabled=False):
        positive = (q * k).sum(-1, keepdim=True)
        return _cross_entropy_of_first(torch.cat([positive, q @ queue], dim=1) / temperature)


def hyperbolic_nce(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    temperature: float,
    c: float = 1.0,
    compat: str = "paper",
) -> Tensor:
    """Which of the K + 1 keys is mine, by the distance in the ball.

    Distances to the queue come from the Gram matrix, ``|q-y|^2 = |q|^2 + |y|^2 - 2 q.y``: no
    (N, K, D) tensor exists.

    Args:
        q: (N, D) queries, not yet mapped.
        k: (N, D) their keys.
        queue: (D, K) negatives; they get no gradient.
        temperature: Divides the distances.
        c: The curvature is -c.
        compat: ``upstream`` maps with c, but measures as in the unit ball: NaN where c is below 1
            and one of two points is outside of that.

    Returns:
        The mean cross-entropy, float64.
    """
    q, k, y = exp_map(q, c), exp_map(k, c), exp_map_fixed(queue.T, c)
    c, least = (1.0, -math.inf) if compat == "upstream" else (c, TINY)
    q_square, y_square = q.square().sum(-1, keepdim=True), y.square().sum(-1)
    mine = distance_of_gap(
        (q - k).square().sum(-1, keepdim=True), q_square, k.square().sum(-1, keepdim=True), c, least
    )
    others = distance_of_gap(squared_gaps(q, y), q_square, y_square, c, least)
    return _cross_entropy_of_first(-torch.cat([mine, others], dim=1) / temperature)


def mixed_nce(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    lam: float,
    temperature: float,
    c: float = 1.0,
    compat: str = "paper",
) -> tuple[Tensor, Tensor, Tensor]:
    """The two contrasts in the curriculum's mixture.

    Args:
        q: (N, D) queries.
        k: (N, D) keys.
        queue: (D, K) negatives, raw as the keys.
        lam: Share of the hyperbolic contrast.
        temperature: Of both.
        c: The curvature is -c.
        compat: See :func:`hyperbolic_nce`.

    Returns:
        The loss, its Euclidean and its hyperbolic part (scalars; zero where lambda leaves it out).
    """
    euclidean = hyperbolic = q.new_zeros(())
    if lam < 1 - LAMBDA_MARGIN:
        euclidean = euclidean_nce(
            normalize(q, dim=1), normalize(k, dim=1), normalize(queue, dim=0), temperature
        )
    if lam > LAMBDA_MARGIN:
        hyperbolic = hyperbolic_nce(q, k, queue, temperature, c, compat)
    return (1 - lam) * euclidean + lam * hyperbolic, euclidean, hyperbolic


def squared_gaps(x: Tensor, y: Tensor) -> Tensor:
    """All squared distances: (N, D) and (K, D) to (N, K).

    Exact to rounding also where two points nearly coincide: there the Gram identity would lose
    its digits, and the few pairs are subtracted instead.
    """
    return _SquaredGaps.apply(x, y)  # pyright: ignore[reportReturnType]


class _SquaredGaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1)
        gaps = torch.addmm(squares, x, y.T, alpha=-2)
        for pairs in (gaps < NEAR * squares).nonzero().split(PAIRS_AT_ONCE):
            i, j = pairs.unbind(1)
            gaps[i, j] = (x[i] - y[j]).square().sum(-1)
        return gaps

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (grad,), (x, y) = grads, ctx.saved_tensors
        of_x = of_y = None
        if ctx.needs_input_grad[0]:
            of_x = 2 * (grad.sum(1, keepdim=True) * x - grad @ y)
        if ctx.needs_input_grad[1]:
            of_y = 2 * (grad.sum(0)[:, None] * y - grad.T @ x)
        return of_x, of_y


def _cross_entropy_of_first(logits: Tensor) -> Tensor:
    return cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
