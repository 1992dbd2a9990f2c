"""Top-k accuracy of logits, over samples or as the mean of batches.

Letters: N samples, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TOP = 5


class TopK(NamedTuple):
    """Shares in [0, 1]."""

    top1: float
    top5: float


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the label is the best, and whether it is among the best five: bool (N, 2)."""
    among = logits.topk(min(TOP, logits.shape[1]), dim=1).indices == labels[:, None]  # (N, <= 5)
    return torch.stack([logits.argmax(1) == labels, among.any(1)], dim=1)


def accuracy(logits: Tensor, labels: Tensor) -> TopK:
    """Accuracy over samples.

    Args:
        logits: (N, C).
        labels: int64 (N,).
    """
    return TopK(*hits(logits, labels).double().mean(0).tolist())


def batch_mean_accuracy(logits: Tensor, labels: Tensor, batch_size: int) -> TopK:
    """Unweighted mean of the accuracies of batches, as the public code reports it.

    A last batch that is smaller counts as much as a full one.
    """
    found = [
        hits(part, truth).double().mean(0)
        for part, truth in zip(logits.split(batch_size), labels.split(batch_size), strict=True)
    ]
    return TopK(*torch.stack(found).mean(0).tolist())


def top5_share(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of labelled samples whose label is among the best five; 0 without any."""
    labelled = labels >= 0
    if not labelled.any():
        return 0.0
    chosen = torch.from_numpy(np.ascontiguousarray(logits[labelled]))
    return accuracy(chosen, torch.from_numpy(labels[labelled])).top5
