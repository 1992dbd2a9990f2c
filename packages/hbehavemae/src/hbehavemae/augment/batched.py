"""Augmentation of whole batches: ``augment(windows, seeds)``, each window by its own seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from behaviorzoo.draws import integers, normal, uniform
from hbehavemae.augment import transforms
from hbehavemae.augment.reference import ARENA

# One number per decision, so that adding an augmentation never changes the draws of another.
(
    _ROTATE,
    _ANGLE,
    _PLACE,
    _NOISY,
    _NOISE,
    _REFLECT,
    _AXIS,
    _SHIFT,
    _WHEN,
    _MOVE,
    _ENDS,
) = range(11)


@dataclass(frozen=True)
class BatchNoise:
    """Gaussian noise on every coordinate of a window.

    Attributes:
        p: Probability per window.
        sigma: Standard deviation in the units of the data.
    """

    p: float
    sigma: float

    def __call__(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """Windows (B, ...) and seeds (B,) -> windows of the same shape."""

        def noisy(part: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
            noise = normal(seeds, _NOISE, part[0].numel()).view_as(part)
            return part + noise.to(x) * self.sigma

        return apply_to(happens(seeds, _NOISY, self.p), noisy, x, seeds)


@dataclass(frozen=True)
class MiceAugment:
    """Rotation, noise and reflection of the MABe22 recipe, on pixels.

    Attributes:
        size: Side of the arena in pixels.
        sigma: Noise in pixels.
        p: Probability of each of the three.
    """

    size: float = ARENA
    sigma: float = 2.0
    p: float = 0.5

    def __call__(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """Windows (B, T, I, K, 2) and seeds (B,) -> windows of the same shape."""
        x = apply_to(happens(seeds, _ROTATE, self.p), self._turned, x, seeds)
        x = BatchNoise(self.p, self.sigma)(x, seeds)
        return apply_to(happens(seeds, _REFLECT, self.p), self._mirrored, x, seeds)

    def _turned(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        angle = (2 * uniform(seeds, _ANGLE)[:, 0] - 1) * math.pi
        return transforms.rotate_in_arena(x, angle, uniform(seeds, _PLACE, 2), self.size)

    def _mirrored(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return transforms.mirror(x, integers(seeds, _AXIS, 2), self.size)


@dataclass(frozen=True)
class HumanAugment:
    """RandomShift and RandomMove of the hBABEL loader (which crash in the original).

    Attributes:
        p_shift: Probability that the motion is moved in time.
        p_move: Probability of a slow drift of angle, size and place.
    """

    p_shift: float = 0.2
    p_move: float = 0.4

    def __call__(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """Windows (B, T, 1, V, 3) and seeds (B,) -> windows of the same shape."""
        clips = x.flatten(2, 3)  # (B, T, V, 3)
        clips = apply_to(happens(seeds, _SHIFT, self.p_shift), self._shifted, clips, seeds)
        clips = apply_to(happens(seeds, _MOVE, self.p_move), self._moved, clips, seeds)
        return clips.view_as(x)

    @staticmethod
    def _shifted(x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return transforms.shift_in_time(x, uniform(seeds, _WHEN)[:, 0])

    def _moved(self, x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return transforms.move(x, *self._ends(seeds))

    @staticmethod
    def _ends(seeds: torch.Tensor) -> list[torch.Tensor]:
        """First and last value (B, 2) of angle, scale and the two shifts."""
        drawn = uniform(seeds, _ENDS, 8).view(-1, 4, 2)
        candidates = (
            transforms.MOVE_ANGLES,
            transforms.MOVE_SCALES,
            transforms.MOVE_SHIFTS,
            transforms.MOVE_SHIFTS,
        )
        return [
            drawn.new_tensor(values)[(drawn[:, number] * len(values)).long()]
            for number, values in enumerate(candidates)
        ]


def happens(seeds: torch.Tensor, stream: int, p: float) -> torch.Tensor:
    """Boolean (B,): true with probability ``p``."""
    return uniform(seeds, stream)[:, 0] < p


def apply_to(
    chosen: torch.Tensor,
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    seeds: torch.Tensor,
) -> torch.Tensor:
    """Change the windows of ``x`` (B, ...) that are chosen (B,); the others cost nothing."""
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return x
    return x.index_copy(0, rows, change(x[rows], seeds[rows]))
