"""Colour jitter: brightness, contrast, saturation and hue of a clip, all frames alike.

The frames are stacked into one 8-bit picture and changed as Pillow does, so the contrast is about
the mean of the whole clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from sgear.data.config import Compat
from sgear.data.sampling import Draws

if TYPE_CHECKING:
    from PIL.Image import Image

Change = Callable[["Image", float], "Image"]


class ColourJitter:
    """Random changes of colour, in random order.

    Args:
        brightness: The factor is drawn from 1 - b to 1 + b, not below 0.
        contrast: Likewise.
        saturation: Likewise.
        hue: The shift is drawn from -h to h, of the colour circle (at most 0.5).
        compat: ``upstream`` passes through the 8-bit picture even if all strengths are 0: values
            become floor(255 x) / 255, in training only. ``corrected`` leaves them as they are then.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        compat: Compat = "upstream",
    ):
        self.strengths = (brightness, contrast, saturation, hue)
        self.compat = compat

    def __call__(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Change clips (..., C, T, H, W) with values from 0 to 1, all alike."""
        if not any(self.strengths):
            return eight_bits(x).float().div_(255) if self.compat == "upstream" else x
        changes = self._drawn(draws)
        clips = x.reshape(-1, *x.shape[-4:])
        return torch.stack([_changed(clip, changes) for clip in clips]).reshape(x.shape)

    def _drawn(self, draws: Draws) -> list[tuple[Change, float]]:
        changes: list[tuple[Change, float]] = []
        for number in draws.permutation(len(_CHANGES)):
            strength = self.strengths[number]
            if strength == 0:
                continue
            middle = 0.0 if _CHANGES[number] is _shift_hue else 1.0
            low = middle - strength if middle == 0 else max(middle - strength, 0.0)
            changes.append((_CHANGES[number], low + (middle + strength - low) * draws.uniform()))
        return changes


def eight_bits(x: torch.Tensor) -> torch.Tensor:
    """Values from 0 to 1 as uint8, truncated as a picture's are."""
    return (x * 255).to(torch.uint8)


def _changed(clip: torch.Tensor, changes: list[tuple[Change, float]]) -> torch.Tensor:
    """One clip (C, T, H, W) as a picture of T H rows, changed, and back."""
    from PIL import Image

    C, T, H, W = clip.shape
    picture = Image.fromarray(eight_bits(clip).permute(1, 2, 3, 0).reshape(T * H, W, C).numpy())
    for change, amount in changes:
        picture = change(picture, amount)
    array = torch.from_numpy(np.array(picture))
    return array.reshape(T, H, W, C).permute(3, 0, 1, 2).float() / 255


def _brighten(picture: Image, factor: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Brightness(picture).enhance(factor)


def _contrast(picture: Image, factor: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Contrast(picture).enhance(factor)


def _saturate(picture: Image, factor: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Color(picture).enhance(factor)


def _shift_hue(picture: Image, shift: float) -> Image:
    from PIL import Image

    hue, saturation, value = picture.convert("HSV").split()
    # 8-bit hues wrap around, as the colour circle does
    turned = np.array(hue, dtype=np.uint8) + np.array(int(shift * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


_CHANGES: tuple[Change, ...] = (_brighten, _contrast, _saturate, _shift_hue)
