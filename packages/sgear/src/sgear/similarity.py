"""Cosine similarities with prototypes as matrix products."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

EPS = 1e-8


def unit(x: Tensor) -> Tensor:
    """Vectors of length 1 (shorter ones than 1e-8 stay short), in single precision at least.

    Args:
        x: (..., D).
    """
    with _full_precision(x):
        return F.normalize(_at_least_single(x), dim=-1, eps=EPS)


def cosines(x: Tensor, units: Tensor) -> Tensor:
    """Cosine similarity of every vector with every prototype.

    A product of matrices: an array (..., N, D) of all pairs, gigabytes at N = 3806, never exists.
    Under autocast it stays in single precision, as PyTorch's own cosine similarity does.

    Args:
        x: (..., D).
        units: (N, D), prototypes as :func:`unit` gives them.

    Returns:
        (..., N), in [-1, 1].
    """
    with _full_precision(x):
        return unit(x) @ units.mT


def _at_least_single(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _full_precision(x: Tensor) -> AbstractContextManager:
    return torch.autocast(x.device.type, enabled=False)
