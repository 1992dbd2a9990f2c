"""Which mask units are visible: random masks, and index lists instead of boolean selection.

Letters: B batch, M mask units, K of them visible.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from hbehavemae.model.geometry import kept_units


class Selection(NamedTuple):
    """A mask as lists of unit numbers: fixed sizes, so that nothing waits for the device.

    Attributes:
        visible: (B, K) visible units, ascending.
        hidden: (B, M - K) hidden units, ascending.
        restore: (B, M) position of unit m in [visible, hidden].
    """

    visible: Tensor
    hidden: Tensor
    restore: Tensor


def mask_from_noise(noise: Tensor, mask_ratio: float) -> Tensor:
    """Keep the units with the smallest noise, the same number in every row.

    Args:
        noise: (B, M) any real numbers; equal ones rank by position.
        mask_ratio: Share of hidden units; ``int(M * (1 - mask_ratio))`` stay visible.

    Returns:
        (B, M) boolean, True = visible.
    """
    ranks = noise.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return ranks < kept_units(noise.shape[1], mask_ratio)


def select(mask: Tensor, n_visible: int) -> Selection:
    """Turn a mask into index lists.

    Args:
        mask: (B, M) boolean, True = visible, ``n_visible`` of them in every row.
        n_visible: K.
    """
    # A stable sort of the two classes keeps each of them in ascending order.
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    return Selection(order[:, :n_visible], order[:, n_visible:], order.argsort(dim=1))


def visible_count(mask: Tensor) -> int:
    """Number of visible units, which must be the same in every row of an explicit mask.

    Raises:
        UserError: Rows differ, or nothing is visible.
    """
    counts = mask.sum(dim=1)
    low, high = int(counts.min()), int(counts.max())
    if low != high:
        raise UserError(f"mask: rows keep between {low} and {high} units, all must keep as many")
    if low == 0:
        raise UserError(f"mask: 0 of {mask.shape[1]} units are visible, at least 1 needed")
    return low


def take_units(x: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` (B, K) of the second axis of ``x`` (B, M, ...), as (B, K, ...)."""
    batch = torch.arange(x.shape[0], device=x.device)[:, None]
    return x[batch, index]
