"""The Poincare ball of curvature -c: maps, distances, uncertainty and the Moebius classifier.

All of it runs in float64 whatever comes in: near the rim of the ball, where the published networks
live, float32 has no digits left. The mathematics is geoopt's (Kochurov et al., 2020); only the
distance that trained the published networks is written out, because its numbers differ from
geoopt's (see :func:`distance`).

Letters: N points, D features.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hysp.compat import check_compat

TINY = 1e-15
ARCOSH_MARGIN = 1e-7
"""Added inside the inverse hyperbolic cosine: keeps its derivative finite at coincident points."""


@cache
def geoopt() -> Any:
    """The library, imported at first use and without its warning about torch.jit.script."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import geoopt

    return geoopt


@cache
def _ball_math() -> Any:
    geoopt()
    from geoopt.manifolds.stereographic import math as ball_math

    return ball_math


def _curvature(c: float) -> Tensor:
    # A scalar on the CPU goes with tensors of any device, and geoopt's branches on its sign do
    # not make a GPU wait.
    return torch.tensor(-c, dtype=torch.float64)


def exp_map(u: Tensor, c: float = 1.0) -> Tensor:
    """Map tangent vectors at the origin into the ball, then keep them off its rim.

    Beyond ``sqrt(c) |u| = 6.10`` the radius stays at ``(1 - 1e-5) / sqrt(c)`` and its gradient is
    zero; only the direction is still learnt. The origin maps to itself with the identity as its
    derivative.

    Args:
        u: (..., D), any floating type.
        c: The curvature is -c.

    Returns:
        (..., D) float64, norm below ``1 / sqrt(c)``.
    """
    k = _curvature(c)
    ball_math = _ball_math()
    return ball_math.project(ball_math.expmap0(u.double(), k=k), k=k)


@torch.no_grad()
def exp_map_fixed(u: Tensor, c: float = 1.0) -> Tensor:
    """:func:`exp_map` of many points that need no gradient.

    Only their lengths go through the map: three passes over the memory instead of nine.

    Args:
        u: (..., D), any floating type and layout.
        c: The curvature is -c.

    Returns:
        (..., D) float64, equal to the last digit or two.
    """
    u = u.double().contiguous()
    length = u.norm(dim=-1, keepdim=True)
    return u * (exp_map(length, c) / length.clamp_min(TINY))


def log_map(y: Tensor, c: float = 1.0, compat: str = "paper") -> Tensor:
    """Inverse of :func:`exp_map` inside the rim.

    Args:
        y: (..., D) points of the ball.
        c: The curvature is -c.
        compat: ``upstream`` projects the tangent vector into the ball too, as the public code.

    Returns:
        (..., D) float64.
    """
    check_compat(compat)
    k = _curvature(c)
    ball_math = _ball_math()
    u = ball_math.logmap0(y.double(), k=k)
    return ball_math.project(u, k=k) if compat == "upstream" else u


def distance(x: Tensor, y: Tensor, c: float = 1.0, compat: str = "paper") -> Tensor:
    """Distance of points in the ball.

    ``paper`` is the form that trained the published networks,
    ``arcosh(1 + 2c |x-y|^2 / ((1 - c|x|^2)(1 - c|y|^2)) + 1e-7) / sqrt(c)``: its gradient lives
    everywhere, and equal points are 4.47e-4 apart. ``upstream`` is that of the later public code,
    ``2 artanh(sqrt(c) |(-x) (+) y|) / sqrt(c)``, which ends at 16.8: points farther apart feel
    no pull at all.

    Args:
        x: (..., D) points of the ball.
        y: (..., D), broadcast against ``x``.
        c: The curvature is -c.
        compat: ``paper`` or ``upstream``.

    Returns:
        (...) float64.
    """
    check_compat(compat)
    x, y = x.double(), y.double()
    if compat == "upstream":
        return _ball_math().dist(x, y, k=_curvature(c))
    gap = (x - y).square().sum(-1)
    return distance_of_gap(gap, x.square().sum(-1), y.square().sum(-1), c)


def distance_of_gap(
    gap: Tensor, x_square: Tensor, y_square: Tensor, c: float = 1.0, least: float = TINY
) -> Tensor:
    """The ``paper`` distance from squared lengths.

    Args:
        gap: ``|x - y|^2``.
        x_square: ``|x|^2``.
        y_square: ``|y|^2``.
        c: The curvature is -c.
        least: The denominator is kept at least so large; minus infinity leaves it alone, which
            points outside the ball turn negative.

    Returns:
        Distances in the shape that the arguments broadcast to.
    """
    rim = ((1 - c * x_square) * (1 - c * y_square)).clamp_min(least)
    return torch.acosh(1 + 2 * c * gap / rim + ARCOSH_MARGIN) / math.sqrt(c)


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """``2 - 2 cos`` of the angle between vectors: (..., D) twice to (...), at least float32."""
    x, y = at_least_single(x), at_least_single(y)
    return 2 - 2 * (normalize(x, dim=-1) * normalize(y, dim=-1)).sum(-1)


def at_least_single(x: Tensor) -> Tensor:
    """Half precision to float32; anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def uncertainty(points: Tensor) -> Tensor:
    """``1 - |e|`` of points in the unit ball: (..., D) to (...); 0 is certain, 1 knows nothing."""
    return 1 - points.norm(dim=-1)


class MoebiusLinear(nn.Module):
    """Linear classifier in the unit ball (Ganea et al., NeurIPS 2018): curvature -1, always.

    The logits are themselves a point of the ball, which is why it trains at a large learning rate.

    Args:
        in_features: D.
        out_features: Classes.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        std = 0.01 / math.sqrt(2 * in_features * out_features)
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * std)
        self.ball = geoopt().PoincareBall(c=1.0)
        start = exp_map(torch.randn(out_features) / 400).float()
        self.bias = geoopt().ManifoldParameter(start, manifold=self.ball)

    def forward(self, x: Tensor) -> Tensor:
        """Points of the ball (N, D) to logits (N, classes) float64."""
        ball_math, k = _ball_math(), _curvature(1.0)
        turned = ball_math.mobius_matvec(self.weight.double(), x.double(), k=k)
        return ball_math.project(ball_math.mobius_add(turned, self.bias.double(), k=k), k=k)
