"""The order of tokens that makes mask units and pooling groups contiguous.

Hiera's *unroll* (Ryali et al. 2023) permutes the tokens once, so that no later step has to move
them. Here a mask unit comes first and its tokens follow::

    [mask unit][position in the group of pooling 1][position in the group of pooling 2] ...

Masking takes whole rows, attention inside a mask unit sees contiguous windows, and pooling is a
maximum over one axis of a view. (The authors' code has the mask unit LAST,
[pooling 1][pooling 2]...[mask unit]; attention and pooling do not depend on it, see
:func:`unroll_index` for the relation.)

Letters: B batch, M mask units, S tokens of a mask unit, (t, h, w) axes of a grid, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

Size = Sequence[int]


def grid_to_units(x: Tensor, factors: Sequence[Size]) -> Tensor:
    """Put a grid into unit order.

    Args:
        x: (B, t, h, w, C).
        factors: Sizes (t, h, w) of the nested groups, finest first; their product is the unit.

    Returns:
        (B, M, G_1, G_2, ..., C): units row-major over the grid, then the position in each nested
        group, finest first, row-major in (t, h, w).
    """
    B, *grid, C = x.shape
    units = [n // prod([f[axis] for f in factors]) for axis, n in enumerate(grid)]
    nested = [n for axis in range(3) for n in (units[axis], *(f[axis] for f in reversed(factors)))]
    per_axis = 1 + len(factors)
    # After the view each axis reads (unit, coarsest group, ..., finest group).
    depths = [0, *range(len(factors), 0, -1)]
    order = [1 + axis * per_axis + depth for depth in depths for axis in range(3)]
    groups = [prod(f) for f in factors]
    return x.reshape(B, *nested, C).permute(0, *order, -1).reshape(B, prod(units), *groups, C)


def units_to_grid(x: Tensor, grid: Size, factors: Sequence[Size]) -> Tensor:
    """Undo :func:`grid_to_units`.

    Args:
        x: (B, M, S, C) in unit order.
        grid: Units along (t, h, w); M is their product.
        factors: Sizes of the nested groups, finest first; S is their product.

    Returns:
        (B, t, h, w, C).
    """
    B, C = x.shape[0], x.shape[-1]
    depth = len(factors)
    # Axes of the view: batch, unit (3), finest group (3), ..., coarsest group (3), channels.
    order = [1 + axis + 3 * level for axis in range(3) for level in (0, *range(depth, 0, -1))]
    sizes = [n for size in (grid, *factors) for n in size]
    natural = [g * prod([f[axis] for f in factors]) for axis, g in enumerate(grid)]
    return x.reshape(B, *sizes, C).permute(0, *order, -1).reshape(B, *natural, C)


def unroll_index(tokens: Size, strides: Sequence[Size]) -> Tensor:
    """The authors' permutation: ``unrolled[j] = natural[unroll_index[j]]``.

    Args:
        tokens: Grid of tokens (t, h, w).
        strides: Pooling between the stages, finest first.

    Returns:
        (N,) int64 indices into the row-major grid.
    """
    natural = torch.arange(prod(tokens)).reshape(1, *tokens, 1)
    units = grid_to_units(natural, strides)  # (1, M, G_1, ..., 1)
    return units.movedim(1, -2).flatten()
