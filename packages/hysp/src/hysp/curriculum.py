"""The self-paced curriculum: from Euclidean to hyperbolic distances over the epochs."""

from __future__ import annotations

import torch

from behaviorzoo.errors import UserError

FIXED = 1.0
"""Weight of the hyperbolic loss without a curriculum, and before the first epoch."""


def hyper_weight(epoch: int, initial: int, final: int, curriculum: bool = True) -> float:
    """Share lambda of the hyperbolic loss in an epoch.

    It rises linearly from 0 to 1; as published it is one step early: above 0 in epoch
    ``initial`` and 1 in epoch ``final - 1``. It goes through float32, as published.

    Args:
        epoch: Counted from 0.
        initial: Epoch in which the hyperbolic loss enters.
        final: Epoch from which it is alone.
        curriculum: Without one, lambda is always 1.

    Raises:
        UserError: ``final`` is not after ``initial``.
    """
    if not curriculum:
        return FIXED
    if final <= initial:
        raise UserError(
            f"curriculum: the final epoch {final} must come after the initial epoch {initial}"
        )
    start = initial - 1
    return float(torch.tensor((epoch - start) / (final - 1 - start)).clamp(0, 1))
