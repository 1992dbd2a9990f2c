"""The two views of every sample of a batch, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hysp.augment.applying import NTU_MIRROR, apply
from hysp.augment.config import AugmentConfig
from hysp.augment.drawn import draw_strong, draw_weak

_CACHED = 64


def views(
    x: Tensor,
    seeds: Tensor,
    config: AugmentConfig,
    compat: str = "paper",
    mirror: Sequence[int] = NTU_MIRROR,
) -> tuple[Tensor, Tensor]:
    """The two views of every sample of a batch.

    Args:
        x: (B, C, T, V, M), C = 2 or 3, an absent person 0; on any device.
        seeds: int64 (B,) on the same device; a sample's views depend on its own seed alone.
        config: The changes.
        compat: ``upstream`` keeps three defects of the original, see :func:`apply`.
        mirror: (V,) joint that takes the place of each in a mirror image.

    Returns:
        Strong and weak view, of the shape and type of ``x``.

    Raises:
        UserError: See :func:`apply`.
    """
    # On a CPU the samples pass in groups that stay in its cache; on a GPU all at once.
    size = _CACHED if x.device.type == "cpu" else max(len(x), 1)
    parts = [slice(first, first + size) for first in range(0, max(len(x), 1), size)]
    strong, weak = (
        [
            apply(
                x[part],
                draw(seeds[part], x[part].shape, config),
                config,
                mirror=mirror,
                compat=compat,
            )
            for part in parts
        ]
        for draw in (draw_strong, draw_weak)
    )
    return _joined(strong), _joined(weak)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
