"""The augmentations of the original on one clip, with the draws of numpy's legacy generator.

They exist to be compared with the original number by number; training uses the batched
versions of :mod:`hbehavemae.augment.batched`. ``rng`` is a ``numpy.random.RandomState``, seeded
as the original seeds numpy's global state; the first draw of each function is the test against
the probability ``p``.
"""

from __future__ import annotations

import random

import numpy as np
import torch

from hbehavemae.augment import transforms

ARENA = 850.0
"""Side of the MABe22 mouse arena in pixels."""


def mice_rotation(
    x: np.ndarray, rng: np.random.RandomState, p: float = 0.5, size: float = ARENA
) -> np.ndarray:
    """Rotate a clip (T, I, K, 2) of mice about the arena's middle and shift it inside."""
    if rng.random_sample() > p:
        return x
    angle = torch.tensor([rng.uniform(-np.pi, np.pi)], dtype=torch.float64)
    clip = torch.from_numpy(np.asarray(x, np.float64))[None]
    turned, low, high, fits = transforms.turn_inside(clip, angle, size)
    if not fits:
        return x  # nothing is drawn in this case
    shift = [rng.uniform(low[0, axis].item(), high[0, axis].item()) for axis in (0, 1)]
    return (turned[0].numpy() + shift).astype(x.dtype)


def gaussian_noise(
    x: np.ndarray, rng: np.random.RandomState, p: float = 0.5, sigma: float = 2.0
) -> np.ndarray:
    """Add N(0, sigma) to every coordinate."""
    if rng.random_sample() >= p:
        return x
    return x + rng.normal(0.0, sigma, x.shape).astype(np.float32)


def mice_reflection(
    x: np.ndarray, rng: np.random.RandomState, p: float = 0.5, size: float = ARENA
) -> np.ndarray:
    """Mirror a clip (T, I, K, 2) at one of the arena's two middle lines: float64."""
    if rng.random_sample() > p:
        return x
    axis = 1 if rng.random_sample() > 0.5 else 0
    clip = torch.from_numpy(np.asarray(x, np.float64))[None]
    return transforms.mirror(clip, torch.tensor([axis]), size)[0].numpy()


def mice(x: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Augment a clip (T, I, K, 2) as the MABe22 recipe does: rotation, noise, reflection."""
    return mice_reflection(gaussian_noise(mice_rotation(x, rng), rng), rng)


def human_shift(
    x: np.ndarray, rng: np.random.RandomState, python_rng: random.Random, p: float = 0.2
) -> np.ndarray:
    """Move the non-zero span of a clip (T, V, C) to a random place (the original's RandomShift)."""
    if rng.random_sample() > p:
        return x
    clip = torch.from_numpy(np.array(x))[None]
    first, length = transforms.active_span(clip)
    offset = python_rng.randint(0, len(x) - int(length))
    return transforms.place_span(clip, first, length, torch.tensor([offset]))[0].numpy()


def human_move(
    x: np.ndarray, rng: np.random.RandomState, python_rng: random.Random, p: float = 0.4
) -> np.ndarray:
    """Drift of angle, size and place over a clip (T, V, C) (the original's RandomMove)."""
    if rng.random_sample() > p:
        return x
    python_rng.choice([1])  # the number of drifts, of which there is one; it advances the state
    candidates = (
        transforms.MOVE_ANGLES,
        transforms.MOVE_SCALES,
        transforms.MOVE_SHIFTS,
        transforms.MOVE_SHIFTS,
    )
    ends = [torch.from_numpy(rng.choice(values, 2))[None] for values in candidates]
    return transforms.move(torch.from_numpy(np.array(x))[None], *ends)[0].numpy()
