"""The reconstruction loss of masked units, as pure functions.

Letters: B batch, N hidden mask units of a window, V values predicted per unit.
"""

from __future__ import annotations

import torch
from torch import Tensor

VARIANCE_EPS = 1e-6


def standardise(target: Tensor) -> Tensor:
    """Zero mean and unit variance of each token's values (norm_loss).

    Args:
        target: (..., V), V at least 2.

    Returns:
        ``(target - mean) / sqrt(var + 1e-6)`` with the unbiased variance (V - 1).
    """
    var, mean = torch.var_mean(target, dim=-1, keepdim=True, correction=1)
    return (target - mean) / torch.sqrt(var + VARIANCE_EPS)


def standardise_observed(target: Tensor, observed: Tensor) -> Tensor:
    """:func:`standardise` by the statistics of the observed values only.

    Args:
        target: (..., V), any finite value where not observed.
        observed: (..., V) boolean.

    Returns:
        (..., V); what was not observed is 0. A lone observed value has no spread and becomes 0.
    """
    count = observed.sum(dim=-1, keepdim=True)
    mean = (target * observed).sum(dim=-1, keepdim=True) / count.clamp(min=1)
    centred = (target - mean) * observed
    var = centred.square().sum(dim=-1, keepdim=True) / (count - 1).clamp(min=1)
    return centred / torch.sqrt(var + VARIANCE_EPS)


def token_errors(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each token: (..., V) twice to (...)."""
    return (pred - target).square().mean(dim=-1)


def masked_error(pred: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error over the observed values.

    Args:
        pred: (..., V).
        target: (..., V), finite everywhere.
        observed: (..., V) boolean.

    Returns:
        The scalar mean over all observed values (0 with zero gradient where there are none) and
        the mean of each token (...) in the same sense.
    """
    error = (pred - target).square() * observed
    total = error.sum() / observed.sum().clamp(min=1)
    return total, error.sum(dim=-1) / observed.sum(dim=-1).clamp(min=1)
