"""What is drawn for the views of a batch: every number a function of the sample's own seed.

The same sample with the same seed gives the same view, whatever else is in the batch and on
whatever device.

Letters: B samples, C coordinates, T frames, V joints, M persons, n the samples with noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from behaviorzoo.draws import integers, normal, uniform
from hysp.augment.config import AugmentConfig

# One number per decision, so that adding an augmentation never changes the draws of another.
(
    *(_START, _SHEAR, _FLIP, _AXIS, _ANGLES, _NOISY, _NOISE, _BLURRED, _SIGMA, _MASKED, _MASK),
    _REVERSED,
) = range(12)
_STRONG, _WEAK = 200, 300
"""First stream of each view."""


@dataclass(frozen=True)
class Drawn:
    """Parameters of one view of a batch; None = this view has no such change.

    Attributes:
        start: int64 (B,) first frame of the temporal crop in the padded sample.
        shear: (B, 6) off-diagonal numbers a1 a2 a3 b1 b2 b3 of the shear matrix.
        flipped: bool (B,) left and right are exchanged.
        degrees: (B, 3) angles about x, y, z.
        main_axis: int64 (B,) the axis with the large angle.
        noisy: bool (B,).
        noise: (n, C, T, V, M) what is added to the noisy samples, in their order.
        blurred: bool (B,).
        sigma: (B,) width of the blur in frames.
        masked: bool (B,).
        axis: int64 (B,) coordinate that a mask sets to 0.
        reversed: bool (B,) frames in reverse order.
    """

    start: Tensor | None = None
    shear: Tensor | None = None
    flipped: Tensor | None = None
    degrees: Tensor | None = None
    main_axis: Tensor | None = None
    noisy: Tensor | None = None
    noise: Tensor | None = None
    blurred: Tensor | None = None
    sigma: Tensor | None = None
    masked: Tensor | None = None
    axis: Tensor | None = None
    reversed: Tensor | None = None


def draw_weak(seeds: Tensor, shape: torch.Size, config: AugmentConfig) -> Drawn:
    """Parameters of the weak view.

    Args:
        seeds: int64 (B,).
        shape: Of the batch, (B, C, T, V, M).
        config: The changes.
    """
    start, shear = _crop_and_shear(seeds, _WEAK, shape, config)
    return Drawn(start=start, shear=shear)


def draw_strong(seeds: Tensor, shape: torch.Size, config: AugmentConfig) -> Drawn:
    """Parameters of the strong view; see :func:`draw_weak`."""
    C = shape[1]
    start, shear = _crop_and_shear(seeds, _STRONG, shape, config)
    noisy = _happens(seeds, _NOISY, config.noise)
    low, high = config.blur_sigma
    main_axis = integers(seeds, _STRONG + _AXIS, 3) if C == 3 else torch.full_like(seeds, 2)
    # In two dimensions there is one axis to turn about, the one that stands on the plane.
    others = config.rotation_others if C == 3 else 0.0
    most = torch.full((len(seeds), 3), others, device=seeds.device).double()
    most.scatter_(1, main_axis[:, None], config.rotation)
    return Drawn(
        start=start,
        shear=shear,
        flipped=_happens(seeds, _FLIP, config.flip),
        degrees=uniform(seeds, _STRONG + _ANGLES, 3) * most,
        main_axis=main_axis,
        noisy=noisy,
        noise=_noise(seeds[noisy], shape, config.noise_sigma),
        blurred=_happens(seeds, _BLURRED, config.blur),
        sigma=low + (high - low) * uniform(seeds, _STRONG + _SIGMA)[:, 0],
        masked=_happens(seeds, _MASKED, config.axis_mask),
        axis=integers(seeds, _STRONG + _MASK, C),
        reversed=_happens(seeds, _REVERSED, config.time_flip),
    )


def padding(frames: int, ratio: int) -> int:
    """Frames that the temporal crop mirrors at each end."""
    return frames // ratio if ratio > 0 else 0


def _crop_and_shear(
    seeds: Tensor, view: int, shape: torch.Size, config: AugmentConfig
) -> tuple[Tensor | None, Tensor | None]:
    start = shear = None
    if config.padding_ratio > 0:
        start = integers(seeds, view + _START, 2 * padding(shape[2], config.padding_ratio) + 1)
    if config.shear > 0:
        shear = (2 * uniform(seeds, view + _SHEAR, 6) - 1) * config.shear
    return start, shear


def _happens(seeds: Tensor, stream: int, p: float) -> Tensor:
    return uniform(seeds, _STRONG + stream)[:, 0] < p


def _noise(seeds: Tensor, shape: torch.Size, sigma: float) -> Tensor:
    """(n, C, T, V, M)."""
    numbers = normal(seeds, _STRONG + _NOISE, shape[1:].numel())
    return numbers.view(-1, *shape[1:]) * sigma
