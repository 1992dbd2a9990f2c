"""Shares of right answers in a training batch."""

from __future__ import annotations

import torch
from torch import Tensor

TOP = (1, 5)


def batch_accuracy(scores: Tensor, target: Tensor, top: tuple[int, ...] = TOP) -> list[Tensor]:
    """Percent of a batch whose class is among the best.

    Items without a label (-1) count as wrong, as in the published code; where none has a label
    everything is 0. With mixed targets the two largest entries of a target are its classes: the
    scores of both are added up in the first, the second counts no longer.

    Args:
        scores: (B, N).
        target: (B) labels, or (B, N) mixed ones.
        top: How many of the best count, at most N.

    Returns:
        For each of ``top`` a number in [0, 100].
    """
    scores = scores.detach()
    if target.ndim == 2:
        scores, target = _of_mixed(scores, target)
    hits = scores.topk(min(max(top), scores.shape[1]), dim=1).indices == target[:, None]
    return [hits[:, :k].any(1).float().mean() * 100 for k in top]


def _of_mixed(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Scores with those of the second class moved to the first, and the first."""
    n_classes = min(2, target.shape[1])
    first, *second = target.topk(n_classes, dim=1).indices.unbind(1)
    rows = torch.arange(len(scores), device=scores.device)
    scores = scores.clone()
    for other in second:
        scores[rows, first] += scores[rows, other]
        scores[rows, other] = 0
    return scores, first
