"""The order in which the original's sort leaves equal scores, on every processor.

The original takes the k largest scores from the end of numpy's default ``argsort``. On x86 that
sorts short rows by a network of comparisons (for AVX2 and for AVX-512 the same); without those
instructions it is another algorithm, which leaves equal scores in another order. Published numbers
come from x86 machines, so the network is walked through here, wherever we are.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LONGEST = 256
"""Scores of a row that numpy sorts by the network alone; longer rows are parted first."""


def argsort_rows(scores: NDArray) -> NDArray[np.intp]:
    """Class ids of every row by ascending score, equal ones in the order of the original.

    Args:
        scores: (n, C). Rows of more than :data:`LONGEST` scores, and those with infinite or
            undefined ones, are left to numpy and the processor.

    Returns:
        (n, C).
    """
    order = np.argsort(scores, axis=1)
    if not 1 < scores.shape[1] <= LONGEST:
        return order
    ascending = np.take_along_axis(scores, order, axis=1)
    tied = np.logical_or.reduce(ascending[:, 1:] == ascending[:, :-1], axis=1)
    tied &= np.logical_and.reduce(np.isfinite(scores), axis=1)
    if tied.any():
        order[tied] = _through_network(scores[tied])
    return order


def _through_network(scores: NDArray) -> NDArray[np.intp]:
    """The same for finite scores (n, C), every comparison for all rows at once."""
    n_rows, n_scores = scores.shape
    width = 1 << (n_scores - 1).bit_length()
    keys = np.full((width, n_rows), np.inf)
    keys[:n_scores] = scores.T
    ids = np.zeros((width, n_rows), dtype=np.intp)
    ids[:n_scores] = np.arange(n_scores)[:, None]
    for low, high in _stages(width):
        swap = keys[high] < keys[low]  # equal ones stay where they are
        for values in (keys, ids):
            one, other = values[low], values[high]
            values[low], values[high] = np.where(swap, other, one), np.where(swap, one, other)
    return ids[:n_scores].T


@cache
def _stages(width: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Places that are compared at a time: what is smaller goes to the first of each pair.

    Batcher's bitonic sorter for a power of two: sorted halves are compared from their two ends,
    then at half, a quarter, ... of the distance.
    """
    places = np.arange(width)
    stages = []
    size = 2
    while size <= width:
        partner = places ^ (size - 1)
        distance = size // 2
        while distance:
            low = places[places < partner]
            stages.append((low, partner[low]))
            distance //= 2
            partner = places ^ distance
        size *= 2
    return stages
