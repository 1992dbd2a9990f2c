"""Features that do not depend on where an individual is or where it faces: distances and speeds.

They stay useful where a body axis is often missing, or where the tracker swaps identities.

Legend: I individuals, K key points, D coordinates, n scalars of one individual.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

ANY = "*"


def expand_pairs(
    pairs: Sequence[Sequence[str]], keypoints: Sequence[str], *, ordered: bool
) -> list[tuple[str, str]]:
    """Pairs of key points in which ``*`` stands for every key point.

    Args:
        pairs: As the user wrote them.
        keypoints: Names that ``*`` stands for.
        ordered: (a, b) and (b, a) are two pairs, and (a, a) is one: points of two individuals.

    Returns:
        The pairs, none twice.
    """
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for first, second in pairs:
        firsts = keypoints if first == ANY else [first]
        seconds = keypoints if second == ANY else [second]
        wild = ANY in (first, second)
        for a, b in product(firsts, seconds):
            if ordered or not wild or a != b:
                found.setdefault((a, b) if ordered else tuple(sorted((a, b))), (a, b))
    return list(found.values())


def within(positions: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Distances (..., I, n) between two points of an individual; (..., I, K, D) in."""
    first, second = _columns(pairs)
    return (positions[..., first, :] - positions[..., second, :]).norm(dim=-1)


def between(positions: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Distances (..., I, n) from a point to that of the nearest other individual.

    NaN where no other individual shows that point.
    """
    first, second = _columns(pairs)
    own, other = positions[..., :, None, first, :], positions[..., None, :, second, :]
    apart = (own - other).norm(dim=-1)  # (..., I, I, n)
    itself = torch.eye(apart.shape[-2], dtype=torch.bool, device=apart.device)[..., None]
    apart = apart.masked_fill(itself | apart.isnan(), torch.inf)
    nearest = apart.amin(-2)
    return nearest.masked_fill(nearest.isinf(), torch.nan)


def speeds(velocities: torch.Tensor) -> torch.Tensor:
    """Speed (..., I, K) of each key point; (..., I, K, D) in."""
    return velocities.norm(dim=-1)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column of (rows, n), missing values aside."""
    seen = ~np.isnan(values)
    count = np.maximum(seen.sum(0), 1)
    known = np.where(seen, values, 0).astype(np.float64)
    mean = known.sum(0) / count
    deviation = np.sqrt((np.where(seen, known - mean, 0) ** 2).sum(0) / count)
    return mean, np.where(deviation > 0, deviation, 1.0)


def typical(values: np.ndarray) -> np.ndarray:
    """Median of each column of (rows, n), 1 where it is 0 or nothing was seen."""
    medians = [np.median(known) if len(known) else 0.0 for known in map(_known, values.T)]
    return np.array([median if median > 0 else 1.0 for median in medians], dtype=np.float64)


def _known(column: np.ndarray) -> np.ndarray:
    return column[~np.isnan(column)]


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
