"""Augmentation of recordings: rotation, mirror image, noise, order of the individuals.

Legend: B windows, T frames, I individuals, P stored points (key points, then anchors), C = D
coordinates, or 2 D with velocities behind them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from behaviorzoo.draws import normal, uniform
from hbehavemae.augment import transforms
from hbehavemae.augment.batched import apply_to, happens

_ROTATE, _ANGLE, _REFLECT, _NOISY, _NOISE, _SWAP, _ORDER = range(100, 107)


@dataclass(frozen=True)
class RecordingAugment:
    """Random changes that leave the behaviour what it is; missing points stay missing.

    Attributes:
        middle: Centre of the space, (D,); rotations and mirror images keep it.
        keypoints: Stored points that are key points, K; noise goes to them only.
        rotation: Probability of a rotation about the third axis (in 2-D: in the plane).
        reflection: Probability of a mirror image along the first axis.
        mirrored: Point that takes the place of each one in a mirror image, (P,).
        noise: Probability of Gaussian noise on the positions.
        sigma: Its standard deviation in the units of the recordings.
        swap: Probability of a random order of the individuals.
    """

    middle: tuple[float, ...]
    keypoints: int
    rotation: float = 0.0
    reflection: float = 0.0
    mirrored: tuple[int, ...] = ()
    noise: float = 0.0
    sigma: float = 0.0
    swap: float = 0.0

    @property
    def only_swaps(self) -> bool:
        """Nothing but the order of the individuals changes."""
        return not (self.rotation or self.reflection or self.noise)

    def __call__(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """Windows (B, T, I, P, C) and seeds (B,) -> windows of the same shape.

        Where it :attr:`only_swaps`, the axes after the individuals may be anything.
        """
        if self.rotation:
            x = apply_to(happens(seeds, _ROTATE, self.rotation), self._turned, x, seeds)
        if self.reflection:
            x = apply_to(happens(seeds, _REFLECT, self.reflection), self._mirrored, x, seeds)
        if self.noise:
            x = apply_to(happens(seeds, _NOISY, self.noise), self._noisy, x, seeds)
        if self.swap:
            x = apply_to(happens(seeds, _SWAP, self.swap), self._swapped, x, seeds)
        return x

    def _turned(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return self.rotated(x, 2 * math.pi * uniform(seeds, _ANGLE)[:, 0])

    def _mirrored(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return self.reflected(x)

    def _swapped(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return reordered(x, uniform(seeds, _ORDER, x.shape[2]).argsort(dim=1))

    def rotated(self, x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Turn positions about the middle, and velocities with them, by angles (B,)."""
        D = len(self.middle)
        middle = x.new_tensor(self.middle)
        positions = transforms.rotate(x[..., :D] - middle, angle) + middle
        if x.shape[-1] == D:
            return positions
        return torch.cat([positions, transforms.rotate(x[..., D:], angle)], dim=-1)

    def reflected(self, x: torch.Tensor) -> torch.Tensor:
        """Mirror the first coordinate about the middle; left and right points change places."""
        D = len(self.middle)
        sign = x.new_ones(x.shape[-1])
        sign[::D] = -1
        shift = x.new_zeros(x.shape[-1])
        shift[0] = 2 * self.middle[0]
        mirrored = x * sign + shift
        return mirrored[..., list(self.mirrored), :] if self.mirrored else mirrored

    def _noisy(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        D, K = len(self.middle), self.keypoints
        positions = x[..., :K, :D]
        noise = normal(seeds, _NOISE, positions[0].numel()).view_as(positions) * self.sigma
        noisy = x.clone()
        noisy[..., :K, :D] = positions + noise.to(x)
        return noisy


def reordered(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Individuals of (B, T, I, ...) in the order (B, I), the same in all frames of a window."""
    index = order.view(len(x), 1, -1, *[1] * (x.ndim - 3)).expand_as(x)
    return x.gather(2, index)
