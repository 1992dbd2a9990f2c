"""What every network for pre-training returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PairOutput(NamedTuple):
    """Losses of a batch of N pairs of views.

    Attributes:
        loss: (N,) to be averaged; a scalar for SkeletonCLR.
        q: (N, D) predictions of the strong view (HYSP: q1, SimSiam: p1, SkeletonCLR: queries).
        k: (N, D) their targets (HYSP: k2, SimSiam: z2, SkeletonCLR: keys), without gradient.
        loss_euc: The Euclidean part, shaped as the loss; None where ``hyper`` is off.
        loss_hyp: The hyperbolic part; None where ``hyper`` is off.
    """

    loss: Tensor
    q: Tensor
    k: Tensor
    loss_euc: Tensor | None = None
    loss_hyp: Tensor | None = None
