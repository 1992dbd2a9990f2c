"""The symmetric loss that HYSP and SimSiam share."""

from __future__ import annotations

from torch import Tensor

from hysp.hyperbolic import cosine_distance
from hysp.losses import pair_loss
from hysp.model.config import ModelConfig
from hysp.model.output import PairOutput


def symmetric_output(
    predictions: tuple[Tensor, Tensor],
    targets: tuple[Tensor, Tensor],
    lam: float,
    config: ModelConfig,
    compat: str,
) -> PairOutput:
    """Each view's prediction against the other view's target, averaged.

    Args:
        predictions: Of the strong and of the weak view, (N, D) each.
        targets: Of the strong and of the weak view, (N, D) each.
        lam: Share of the hyperbolic loss.
        config: Options of the network.
        compat: Which distance, see :func:`hysp.hyperbolic.distance`.
    """
    (q1, q2), (k1, k2) = predictions, targets
    if not config.hyper:
        loss = (cosine_distance(q1, k2) + cosine_distance(q2, k1)) / 2
        return PairOutput(loss, q1, k2)
    first = pair_loss(q1, k2, lam, config.hyper_c, compat)
    second = pair_loss(q2, k1, lam, config.hyper_c, compat)
    euclidean = (first.euclidean + second.euclidean) / 2
    hyperbolic = (first.hyperbolic + second.hyperbolic) / 2
    return PairOutput((1 - lam) * euclidean + lam * hyperbolic, q1, k2, euclidean, hyperbolic)
