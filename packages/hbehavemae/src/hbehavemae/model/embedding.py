"""From poses to tokens: patches, position, and what is not there.

Letters: B batch, T frames, I individuals, F features; M mask units of a window, R any number of
units, S tokens of a mask unit, P values of a patch, E width.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from hbehavemae.model.geometry import Geometry
from hbehavemae.model.unroll import grid_to_units


def raw_units(x: Tensor, geometry: Geometry) -> Tensor:
    """Cut windows into mask units: (B, T, I, F) to (B, M, frames, individuals, features)."""
    unit = [p * u for p, u in zip(geometry.config.patch_kernel, geometry.mask_unit, strict=True)]
    return grid_to_units(x[..., None], [unit]).reshape(x.shape[0], -1, *unit)


class PatchEmbed(nn.Module):
    """Embedding of the patches of mask units.

    Patches do not overlap, so the convolution is a matrix product, and hidden units need not be
    embedded at all. The weights keep the convolution's shape for the published checkpoints.

    Args:
        geometry: Sizes.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        kernel = geometry.config.patch_kernel
        self.factors = (kernel, *geometry.strides)
        self.proj = nn.Conv3d(1, geometry.config.init_embed_dim, kernel, stride=kernel)

    def patches(self, units: Tensor) -> Tensor:
        """(..., frames, individuals, features) of units to (..., S, P) in unit order."""
        *leading, t, h, w = units.shape
        nested = grid_to_units(units.reshape(-1, t, h, w, 1), self.factors)
        # (R, 1, P, groups ..., 1): the patch is the finest group, here it becomes the last axis.
        return nested.flatten(3).transpose(2, 3).reshape(*leading, -1, prod(self.factors[0]))

    def forward(self, patches: Tensor) -> Tensor:
        """(R, S, P) to (R, S, E)."""
        return linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class MissingEmbed(nn.Conv3d):
    """What it means for a value to be missing: a learned vector for each place in a patch.

    Added to the embedding of the patch in which missing values are 0. It starts at zero.

    Args:
        geometry: Sizes.
    """

    def __init__(self, geometry: Geometry) -> None:
        kernel = geometry.config.patch_kernel
        super().__init__(1, geometry.config.init_embed_dim, kernel, stride=kernel, bias=False)

    def reset_parameters(self) -> None:
        """Start from the network that knows nothing of missing values."""
        nn.init.zeros_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """(R, S, P) with 1 where a value is missing, to (R, S, E)."""
        return linear(input, self.weight.flatten(1))


def position_table(temporal: Tensor, spatial: Tensor, geometry: Geometry) -> Tensor:
    """Sum of separate position embeddings in unit order.

    Args:
        temporal: (1, t, E).
        spatial: (1, h * w, E).
        geometry: Sizes.

    Returns:
        (M, S, E).
    """
    table = temporal[0, :, None] + spatial  # (t, h w, E)
    table = table.reshape(1, *geometry.tokens, -1)
    units = grid_to_units(table, geometry.strides)
    return units.reshape(geometry.n_units, -1, table.shape[-1])


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """(M, S, E) and unit numbers (R,) to (R, S, E); a look-up has the fastest gradient."""
    return embedding(index, table.flatten(1)).unflatten(-1, table.shape[1:])


def split_missing(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Values with 0 for NaN, and 1 where there was NaN."""
    missing = torch.isnan(patches)
    return patches.masked_fill(missing, 0.0), missing.to(patches.dtype)
