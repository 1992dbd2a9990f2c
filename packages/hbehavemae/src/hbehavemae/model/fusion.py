"""Fusion of the levels: each mask unit of a level collapses to one vector, and these are added.

Letters: B batch, M mask units, S tokens of a mask unit, C channels (of a level), C_last of the
coarsest level.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import linear

from hbehavemae.model.geometry import Geometry
from hbehavemae.model.unroll import grid_to_units


def fusion_heads(geometry: Geometry) -> nn.ModuleList:
    """One convolution per pooled level whose kernel is the whole mask unit of that level."""
    last = geometry.level_dims[-1]
    return nn.ModuleList(
        nn.Conv3d(geometry.level_dims[level], last, kernel, stride=kernel)
        for level, kernel in enumerate(geometry.level_units[: len(geometry.strides)])
    )


def apply_head(head: nn.Conv3d, x: Tensor, geometry: Geometry, level: int) -> Tensor:
    """A fusion head on a level in unit order: (B, M, S, C) to (B, M, C_last).

    The kernel covers a unit exactly, so the convolution is a matrix product; its weights are
    brought to the order of the tokens, which is cheaper than the reverse.
    """
    kernel = head.weight.permute(0, 2, 3, 4, 1)  # (C_last, t, h, w, C)
    weight = grid_to_units(kernel, geometry.strides[level:]).flatten(1)
    return linear(x.flatten(2), weight, head.bias)


def fuse(heads: nn.ModuleList, levels: Mapping[int, Tensor], geometry: Geometry) -> Tensor:
    """Sum of the heads over the pooled levels, plus the coarsest level as it is.

    Where nothing is pooled (BehaveMAE) the last level enters twice: through its head and as it is.

    Args:
        heads: :func:`fusion_heads`.
        levels: Level to (B, M, S, C) in unit order; the pooled ones and the last one.
        geometry: Sizes.

    Returns:
        (B, M, C_last).
    """
    total = levels[len(geometry.stage_ends) - 1].squeeze(2)
    for level, head in enumerate(heads):
        assert isinstance(head, nn.Conv3d)
        total = total + apply_head(head, levels[level], geometry, level)
    return total
