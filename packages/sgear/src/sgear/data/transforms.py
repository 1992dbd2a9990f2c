"""Frames of a video to the tensor that a network sees.

Order (as the original's): to [0, 1], resize, mirror, colour jitter, scale, RGB to BGR, normalise,
crop; evaluation has no mirror and no jitter and may take several crops. Everything works on
``(..., H, W)``, so any number of clips of one size can be done at once.

Letters: T frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from behaviorzoo.errors import UserError
from sgear.data.colour import ColourJitter
from sgear.data.config import Compat, DataConfig
from sgear.data.sampling import Draws


class ClipTransform:
    """What is done to the frames of a clip.

    Args:
        config: Sizes, mean and deviation, chances.
        training: With what is random, and one crop.
        compat: See :class:`~sgear.data.colour.ColourJitter`.
    """

    def __init__(self, config: DataConfig, training: bool, compat: Compat = "upstream"):
        self.config, self.training = config, training
        self.jitter = ColourJitter(
            config.color_jitter_brightness,
            config.color_jitter_contrast,
            config.color_jitter_saturation,
            config.color_jitter_hue,
            compat,
        )

    @property
    def n_crops(self) -> int:
        """Crops of a clip."""
        if self.training:
            return 1
        return self.config.eval_num_crops * (2 if self.config.eval_flip_crops else 1)

    def __call__(self, frames: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Transform clips of one size, all in the same way.

        Args:
            frames: uint8 (..., T, H, W, C).
            draws: What is random.

        Returns:
            float32 (..., C, T, h, w); with several crops (..., crops, C, T, h, w).
        """
        config = self.config
        x = resize(to_unit(frames), *self._size(frames.shape[-3:-1], draws))
        if self.training:
            if draws.uniform() < config.flip_p:
                x = x.flip(-1)
            x = self.jitter(x, draws)
        x = normalise(
            x, config.mean, config.std, scale=config.scale_pix_val, reverse=config.reverse_channels
        )
        if config.crop_size is None:
            return x
        if self.training:
            return random_crop(x, config.crop_size, draws)
        crops = multi_crop(x, config.crop_size, config.eval_num_crops, config.eval_flip_crops)
        return crops.squeeze(-5) if self.n_crops == 1 else crops

    def _size(self, size: Sequence[int], draws: Draws) -> tuple[int, int]:
        """Height and width after resizing; a range of short sides is drawn from."""
        height, width = self.config.scale_h, self.config.scale_w
        if isinstance(height, str):
            low, _, high = height.partition("-")
            first, last = int(low), int(high or low)
            height = first + draws.integer(last - first + 1) if last > first else first
        if height is None:
            return int(size[0]), int(size[1])
        return (height, width) if width != -1 else short_side(size, height)


def to_unit(frames: torch.Tensor) -> torch.Tensor:
    """uint8 (..., T, H, W, C) to float32 (..., C, T, H, W) from 0 to 1."""
    return frames.movedim(-1, -4).to(torch.float32, memory_format=torch.contiguous_format) / 255


def short_side(size: Sequence[int], target: int) -> tuple[int, int]:
    """Height and width whose shorter one is ``target``, the shape kept."""
    scale = target / min(size)
    height, width = (max(int(side * scale), target) for side in size)
    return height, width


def resize(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear interpolation of (..., T, H, W), without smoothing before it."""
    if x.shape[-2:] == (height, width):
        return x
    # (..., T, H, W) -> (all, T, H, W): frames as channels, which gives the original's last digits
    flat = x.reshape(-1, *x.shape[-3:])
    out = functional.interpolate(flat, size=(height, width), mode="bilinear", align_corners=False)
    return out.reshape(*x.shape[:-2], height, width)


def normalise(
    x: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    scale: float = 1.0,
    reverse: bool = False,
) -> torch.Tensor:
    """``(scale x - mean) / std`` of each channel of (..., C, T, H, W), reversed before if asked."""
    if len(mean) != x.shape[-4]:
        raise UserError(f"mean has {len(mean)} channels, the video {x.shape[-4]}")
    if scale != 1.0:
        x = x * scale
    if reverse:
        x = x.flip(-4)
    shape = (-1, 1, 1, 1)
    centre, width = (x.new_tensor(values).view(shape) for values in (mean, std))
    return (x - centre) / width


def random_crop(x: torch.Tensor, side: int, draws: Draws) -> torch.Tensor:
    """A square somewhere in (..., H, W)."""
    _check_crop(x, side)
    top, left = (draws.integer(length - side + 1) for length in x.shape[-2:])
    return x[..., top : top + side, left : left + side]


def multi_crop(x: torch.Tensor, side: int, n_crops: int, flips: bool) -> torch.Tensor:
    """Squares at fixed places, and their mirror images.

    Args:
        x: (..., C, T, H, W).
        side: Height and width of a crop.
        n_crops: 1 = the centre; 3 = top left, centre, bottom right.
        flips: Append the mirror image of each.

    Returns:
        (..., crops, C, T, side, side).
    """
    _check_crop(x, side)
    bottom, right = (length - side for length in x.shape[-2:])
    # round() of a half goes to the even neighbour, as in torchvision's centre crop
    centre = round(bottom / 2), round(right / 2)
    places = [centre] if n_crops == 1 else [(0, 0), centre, (bottom, right)]
    crops = [x[..., top : top + side, left : left + side] for top, left in places]
    if flips:
        crops += [crop.flip(-1) for crop in crops]
    return torch.stack(crops, dim=-5)


def windows(x: torch.Tensor, frames: int, stride: int) -> torch.Tensor:
    """Windows of a clip, its time tokens.

    Args:
        x: (..., C, T, h, w).
        frames: Frames F of a window.
        stride: Frames between the starts of two.

    Returns:
        (n windows, ..., C, F, h, w).
    """
    # unfold puts the frames of a window last: (..., C, n, h, w, F)
    return x.unfold(-3, frames, stride).movedim(-4, 0).movedim(-1, -3)


def _check_crop(x: torch.Tensor, side: int) -> None:
    height, width = x.shape[-2:]
    if side > min(height, width):
        raise UserError(
            f"crop_size={side} does not fit into frames of {height} x {width} after resizing; "
            "give a larger scale_h or a smaller crop_size"
        )
