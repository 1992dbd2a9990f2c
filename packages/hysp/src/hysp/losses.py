"""Loss of positive pairs: how far a prediction is from what the target saw (Franco et al., 2023).

Letters: N sequences, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hysp.hyperbolic import cosine_distance, distance, exp_map

LAMBDA_MARGIN = 1e-7
"""So near to 0 or 1, one of the two losses has no weight and is not computed."""


class PairLoss(NamedTuple):
    """Losses of N pairs.

    Attributes:
        euclidean: (N,) cosine distance of the mapped points; zeros where lambda is 1.
        hyperbolic: (N,) distance in the ball; zeros where lambda is 0.
    """

    euclidean: Tensor
    hyperbolic: Tensor

    def mixed(self, lam: float) -> Tensor:
        """``(1 - lambda) euclidean + lambda hyperbolic``: (N,)."""
        return (1 - lam) * self.euclidean + lam * self.hyperbolic


def pair_loss(q: Tensor, k: Tensor, lam: float, c: float = 1.0, compat: str = "paper") -> PairLoss:
    """Compare predictions with their targets.

    The distance itself is minimised: not its square, no temperature, no negatives. Its gradient
    shrinks with the radius of the points, which lets certain pairs pace the learning.

    Args:
        q: (N, D) predictions.
        k: (N, D) targets.
        lam: Share of the hyperbolic loss, see :mod:`hysp.curriculum`.
        c: The curvature is -c.
        compat: Which distance, see :func:`hysp.hyperbolic.distance`.

    Returns:
        Float64 losses.
    """
    q, k = exp_map(q, c), exp_map(k, c)
    none = torch.zeros(len(q), dtype=q.dtype, device=q.device)
    return PairLoss(
        none if lam >= 1 - LAMBDA_MARGIN else cosine_distance(q, k),
        none if lam <= LAMBDA_MARGIN else distance(q, k, c, compat),
    )


@torch.no_grad()
def pair_metrics(q: Tensor, k: Tensor, c: float = 1.0, compat: str = "paper") -> dict[str, Tensor]:
    """What is logged of predictions and targets.

    Args:
        q: (N, D) predictions.
        k: (N, D) targets.
        c: The curvature is -c.
        compat: ``upstream`` measures angles without guarding the arc cosine: equal directions
            give NaN by rounding.

    Returns:
        ``mse`` (scalar) and, each (N,), ``cosine_dist`` of the raw vectors, ``radius_x`` and
        ``radius_y`` of the mapped points, ``ang_e`` their angle in degrees, ``poincare_dist``.
    """
    x, y = exp_map(q, c), exp_map(k, c)
    radius_x, radius_y = x.norm(dim=-1), y.norm(dim=-1)
    cosine = (x * y).sum(-1) / (radius_x * radius_y)
    if compat != "upstream":
        cosine = torch.nan_to_num(cosine).clamp(-1, 1)
    return {
        "mse": (q - k).square().mean(),
        "cosine_dist": cosine_distance(q, k),
        "radius_x": radius_x,
        "radius_y": radius_y,
        "ang_e": torch.rad2deg(torch.acos(cosine)),
        "poincare_dist": distance(x, y, c, compat),
    }
