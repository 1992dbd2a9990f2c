"""Weights of a Swin transformer for pictures, blown up to videos.

(Liu et al. 2022, Video Swin Transformer, section 3.3, as in the public code.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from behaviorzoo.errors import UserError

REMADE = ("relative_position_index", "attn_mask")
"""Endings of entries that the network for videos makes itself."""

PATCH = "patch_embed.proj.weight"
TABLE = "relative_position_bias_table"


def inflate(
    state: Mapping[str, Tensor], patch_depth: int, window: tuple[int, int, int], where: str
) -> dict[str, Tensor]:
    """Weights of pictures as weights of videos that stand still.

    Args:
        state: The file's ``model``: a Swin transformer for pictures, with or without a head.
        patch_depth: Frames of a patch.
        window: (wd, wh, ww) of the network for videos.
        where: File it comes from, for messages.

    Returns:
        Name -> tensor without ``head.*``; the final norm is still called ``norm``.

    Raises:
        UserError: No patch embedding for pictures in it, or a table that is no square.
    """
    if PATCH not in state or state[PATCH].ndim != 4:
        raise UserError(f"{where}: no Swin transformer for pictures, {PATCH} is missing or not 4-D")
    inflated = {}
    for name, value in state.items():
        if name.endswith(REMADE) or name.startswith("head."):
            continue
        if name == PATCH:  # C, 3, ph, pw
            value = value.unsqueeze(2).repeat(1, 1, patch_depth, 1, 1) / patch_depth
        elif name.endswith(TABLE):
            value = _table_of_videos(value, window, f"{where}: {name}")
        inflated[name] = value
    return inflated


def _table_of_videos(table: Tensor, window: tuple[int, int, int], where: str) -> Tensor:
    """(S * S, H) to ((2wd-1)(2wh-1)(2ww-1), H), the same for every offset in time."""
    depth, height, width = (2 * size - 1 for size in window)
    n_offsets, n_heads = table.shape
    if n_offsets != height * width:
        side = round(n_offsets**0.5)
        if side * side != n_offsets:
            raise UserError(f"{where}: {n_offsets} offsets are no square")
        picture = table.T.reshape(1, n_heads, side, side)
        picture = F.interpolate(picture, size=(height, width), mode="bicubic")
        table = picture.reshape(n_heads, height * width).T
    return table.repeat(depth, 1)
