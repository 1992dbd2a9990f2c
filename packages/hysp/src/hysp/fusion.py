"""Scores of several streams added with weights, and the search for the weights.

Letters: S streams, N samples, C classes, W sets of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from behaviorzoo.errors import UserError

GRID = tuple(round(0.1 * step, 1) for step in range(10))
"""Weights that the original tries for each stream."""

SHARE_TRIED = 8
"""The original tries one in so many of its combinations."""

SEARCH_SAMPLES = 512
"""Samples at a time: their scores, weighted in all ways, stay in the processor's cache."""


class Accuracy(NamedTuple):
    """Shares of samples whose label is the best, or among the best five."""

    top1: float
    top5: float


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        weights: (S,) of the first set with the most hits.
        top1: Share of hits of every set, (W,).
    """

    weights: tuple[float, ...]
    top1: np.ndarray


def fuse(scores: Sequence[np.ndarray], weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Weighted sum of scores, streams in the order given.

    Weights that are Python's numbers keep the precision of the scores, those of numpy's float64
    raise it: as the original's fixed and searched weights do.

    Args:
        scores: S arrays (N, C).
        weights: (S,).

    Raises:
        UserError: Another number of weights than of streams, or arrays of unequal shape.
    """
    _check(scores)
    if len(scores) != len(weights):
        raise UserError(f"{len(weights)} weights for {len(scores)} streams; give one for each")
    total = scores[0] * weights[0]
    for values, weight in zip(scores[1:], weights[1:], strict=True):
        total = total + values * weight
    return total


def fused_accuracy(scores: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Top-1 and top-5 accuracy; of equal scores the first class is the best, as in the original.

    Args:
        scores: (N, C).
        labels: int (N,).
    """
    labels = np.asarray(labels)
    # The order of equal scores among the last five is numpy's own, which the original relies on.
    best = scores.argsort(axis=1)[:, -5:]
    return Accuracy(
        float((scores.argmax(axis=1) == labels).mean()),
        float((best == labels[:, None]).any(axis=1).mean()),
    )


def original_candidates(seed: int | None = None, streams: int = 3) -> np.ndarray:
    """The sets of weights that the original tries, in its order, repetitions included.

    Args:
        seed: Of numpy's legacy generator, which draws an eighth of them; None = all.
        streams: S.

    Returns:
        float64 (W, S).
    """
    every = np.array(list(combinations(GRID * streams, streams)))
    if seed is None:
        return every
    order = np.random.RandomState(seed).permutation(len(every))
    return every[order[: len(every) // SHARE_TRIED]]


def grid_candidates(streams: int) -> np.ndarray:
    """All sets of weights that differ by more than a common factor, float64 (W, S).

    Steps of 0.1 up to 1 for the largest weight of a set; equal weights come first, so that they
    win where nothing is better.
    """
    steps = [w for w in product(range(11), repeat=streams) if max(w) == 10]
    # The largest is 1, so that no set is another one times a factor.
    steps.sort(key=lambda w: (sum(10 - step for step in w), w))
    return np.array(steps) / 10


def search_weights(
    scores: Sequence[np.ndarray], labels: np.ndarray, candidates: np.ndarray
) -> Searched:
    """Find the weights with the most samples right.

    Sums are formed once for all sets that share their first weights, over a few samples at a
    time, in the order and precision of :func:`fuse`: the hits are the same to the last one.

    Args:
        scores: S arrays (N, C).
        labels: int (N,).
        candidates: float64 (W, S); of equally good sets the first wins.

    Raises:
        UserError: No set, no sample, or arrays of unequal shape.
    """
    _check(scores)
    candidates = np.asarray(candidates, dtype=np.float64)
    if not len(candidates) or not len(labels):
        raise UserError(
            f"weights: {len(candidates)} sets to try on {len(labels)} samples; both must be some"
        )
    sets, place = np.unique(candidates, axis=0, return_inverse=True)
    hits = np.zeros(len(sets), dtype=np.int64)
    for start in range(0, len(labels), SEARCH_SAMPLES):
        rows = slice(start, start + SEARCH_SAMPLES)
        part = [np.ascontiguousarray(values[rows].T, dtype=np.float64) for values in scores]
        truth = np.asarray(labels[rows])
        for number, fused in _weighted(part, sets):
            hits[number] += _hits(fused, truth)
    top1 = hits[place.reshape(-1)] / len(labels)
    return Searched(tuple(candidates[int(top1.argmax())].tolist()), top1)


def _weighted(part: list[np.ndarray], sets: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Number and fused scores (C, n) of every set; the array is written over by the next one."""
    scaled = [
        {weight: values * weight for weight in set(column)}
        for values, column in zip(part, sets.T.tolist(), strict=True)
    ]
    out = np.empty_like(part[0])
    if len(part) == 1:
        for number, (weight,) in enumerate(sets.tolist()):
            yield number, scaled[0][weight]
        return
    before: tuple[float, ...] = ()
    head = part[0]
    for number, row in enumerate(sets.tolist()):  # sorted: sets with equal beginnings in a row
        if tuple(row[:-1]) != before:
            before = tuple(row[:-1])
            head = scaled[0][row[0]]
            for values, weight in zip(scaled[1:-1], row[1:-1], strict=True):
                head = head + values[weight]
        yield number, np.add(head, scaled[-1][row[-1]], out=out)


def _hits(fused: np.ndarray, labels: np.ndarray) -> int:
    """Samples (of (C, n)) whose label has the largest score; of equal ones the first counts."""
    best = fused.max(axis=0)
    if np.count_nonzero(fused == best) == len(labels):
        return int(np.count_nonzero(fused[labels, np.arange(len(labels))] == best))
    return int(np.count_nonzero(fused.argmax(axis=0) == labels))


def _check(scores: Sequence[np.ndarray]) -> None:
    shapes = [np.shape(values) for values in scores]
    if not scores or len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise UserError(
            f"scores of the streams have the shapes {', '.join(map(str, shapes)) or 'of none'}; "
            "expected (samples, classes), the same for all"
        )
