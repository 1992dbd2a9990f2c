"""The original's draws, number by number: Python's generator and numpy's legacy one.

They exist to compare with the original; training draws by seed and position
(:mod:`hysp.augment.drawn`). Every function advances the generators exactly as the original does
and gives the parameters of a batch of one sample, in float64, for :func:`hysp.augment.apply`.

Letters: C coordinates, T frames, V joints, M persons.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from hysp.augment.config import AugmentConfig
from hysp.augment.drawn import Drawn, padding

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Generators:
    """The two generators of the original.

    Attributes:
        python: Stands for the module ``random``.
        numpy: Stands for numpy's global generator.
    """

    python: random.Random
    numpy: np.random.RandomState

    @classmethod
    def seeded(cls, seed: int) -> Generators:
        """Both seeded with one number."""
        return cls(random.Random(seed), np.random.RandomState(seed))


def temporal_crop(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """First frame of the crop."""
    start = rng.numpy.randint(0, 2 * padding(shape[1], config.padding_ratio) + 1)
    return Drawn(start=torch.tensor([start]))


def shear(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Six numbers of the shear matrix."""
    r = config.shear
    return Drawn(shear=_row([rng.python.uniform(-r, r) for _ in range(6)]))


def spatial_flip(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Whether left and right are exchanged."""
    return Drawn(flipped=_flag(rng.python.random() < config.flip))


def rotate(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Axis of the large angle, and three angles."""
    main = rng.python.randint(0, 2)
    most = [config.rotation if axis == main else config.rotation_others for axis in range(3)]
    degrees = [rng.python.uniform(0, angle) for angle in most]
    return Drawn(degrees=_row(degrees), main_axis=torch.tensor([main]))


def gaus_noise(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Whether there is noise, and the noise."""
    if not rng.python.random() < config.noise:
        return Drawn(noisy=_flag(False), noise=torch.zeros(0, *shape, dtype=torch.float64))
    noise = rng.numpy.normal(0, config.noise_sigma, size=shape)
    return Drawn(noisy=_flag(True), noise=torch.from_numpy(noise)[None])


def gaus_filter(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Width of the blur, and whether it is applied."""
    sigma = rng.python.uniform(*config.blur_sigma)
    blurred = rng.numpy.random_sample() < config.blur
    return Drawn(sigma=_row([sigma])[0], blurred=_flag(blurred))


def axis_mask(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Whether a coordinate is masked, and which."""
    masked = rng.python.random() < config.axis_mask
    axis = rng.python.randint(0, 2) if masked else 0
    return Drawn(masked=_flag(masked), axis=torch.tensor([axis]))


def time_flip(rng: Generators, shape: Shape, config: AugmentConfig) -> Drawn:
    """Whether the frames are reversed."""
    return Drawn(reversed=_flag(rng.python.random() < config.time_flip))


Draw = Callable[[Generators, Shape, AugmentConfig], Drawn]
STRONG: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        *(temporal_crop, shear, spatial_flip, rotate),
        *(gaus_noise, gaus_filter, axis_mask, time_flip),
    )
}
"""The changes by the original's names, in its order."""
WEAK = {name: STRONG[name] for name in ("temporal_crop", "shear")}


def draws(
    rng: Generators, shape: Shape, config: AugmentConfig, steps: dict[str, Draw]
) -> tuple[Drawn, dict[str, Drawn]]:
    """Draw the parameters of a view as the original does.

    Args:
        rng: Its generators; a pre-training sample draws its strong view first, then its weak one.
        shape: (C, T, V, M) of the sample.
        config: The changes; a crop ratio or shear of 0 or less is skipped, nothing is drawn.
        steps: :data:`STRONG` or :data:`WEAK`.

    Returns:
        The parameters of all steps together, and those of each.
    """
    skipped = {"temporal_crop"} if config.padding_ratio <= 0 else set()
    skipped |= {"shear"} if config.shear <= 0 else set()
    each = {name: step(rng, shape, config) for name, step in steps.items() if name not in skipped}
    together = Drawn()
    for drawn in each.values():
        given = {f.name: v for f in fields(drawn) if (v := getattr(drawn, f.name)) is not None}
        together = replace(together, **given)
    return together, each


def _row(numbers: list[float]) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def _flag(value: bool) -> Tensor:
    return torch.tensor([bool(value)])
