"""What is drawn for the views of a batch: every number a function of the sample's own seed.

The same sample with the same seed gives the same view, whatever else is in the batch and on
whatever device.

Letters: B samples, C coordinates, T frames, V joints, M persons, n the samples with noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from behaviorzoo.draws import normal, uniform
from hysp.augment.config import AugmentConfig

# Which draw of a sample's seed is what. A view has one stream of uniform numbers and a place in it
# for each decision, so that adding one at the end never changes the others.
_STRONG, _WEAK, _NOISE = 200, 300, 400
_START, _SHEAR = 0, slice(1, 7)
_FLIP, _AXIS, _NOISY, _BLURRED, _SIGMA, _MASKED, _MASK, _REVERSED = range(7, 15)
_ANGLES = slice(15, 18)
_WEAK_NUMBERS, _STRONG_NUMBERS = 7, 18


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
    return Drawn(**_crop_and_shear(uniform(seeds, _WEAK, _WEAK_NUMBERS), shape, config))


def draw_strong(seeds: Tensor, shape: torch.Size, config: AugmentConfig) -> Drawn:
    """Parameters of the strong view; see :func:`draw_weak`."""
    C = shape[1]
    u = uniform(seeds, _STRONG, _STRONG_NUMBERS)
    noisy = u[:, _NOISY] < config.noise
    low, high = config.blur_sigma
    # In two dimensions there is one axis to turn about, the one that stands on the plane.
    main_axis = (u[:, _AXIS] * 3).long() if C == 3 else torch.full_like(seeds, 2)
    others = config.rotation_others if C == 3 else 0.0
    most = u.new_full((len(seeds), 3), others).scatter_(1, main_axis[:, None], config.rotation)
    return Drawn(
        **_crop_and_shear(u, shape, config),
        flipped=u[:, _FLIP] < config.flip,
        degrees=u[:, _ANGLES] * most,
        main_axis=main_axis,
        noisy=noisy,
        noise=_noise(seeds[noisy], shape, config.noise_sigma),
        blurred=u[:, _BLURRED] < config.blur,
        sigma=low + (high - low) * u[:, _SIGMA],
        masked=u[:, _MASKED] < config.axis_mask,
        axis=(u[:, _MASK] * C).long(),
        reversed=u[:, _REVERSED] < config.time_flip,
    )


def padding(frames: int, ratio: int) -> int:
    """Frames that the temporal crop mirrors at each end."""
    return frames // ratio if ratio > 0 else 0


def _crop_and_shear(u: Tensor, shape: torch.Size, config: AugmentConfig) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = {}
    if config.padding_ratio > 0:
        starts = 2 * padding(shape[2], config.padding_ratio) + 1
        drawn["start"] = (u[:, _START] * starts).long()
    if config.shear > 0:
        drawn["shear"] = (2 * u[:, _SHEAR] - 1) * config.shear
    return drawn


def _noise(seeds: Tensor, shape: torch.Size, sigma: float) -> Tensor:
    """(n, C, T, V, M)."""
    numbers = normal(seeds, _NOISE, shape[1:].numel())
    return numbers.view(-1, *shape[1:]) * sigma
