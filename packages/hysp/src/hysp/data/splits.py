"""Parts of a data set: folds of whole groups, labelled fractions, low and high uncertainty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from behaviorzoo.errors import UserError


class Halves(NamedTuple):
    """Samples on both sides of the median; indices int64."""

    median: float
    low: np.ndarray
    high: np.ndarray


def semi_supervised(labels: np.ndarray, fraction: float, seed: int = 123) -> np.ndarray:
    """Samples whose labels are used in the semi-supervised protocol (1 %, 10 %).

    Stratified without replacement, int(fraction * N) in all: the indices that the original's
    evaluation draws with scikit-learn and numpy's generator at ``seed``.

    Args:
        labels: int (N,).
        fraction: Share of the samples, above 0 and at most 1.
        seed: The original's is 123.

    Returns:
        int64 (n,), in the order drawn.

    Raises:
        UserError: The share is out of range, or gives not one sample.
    """
    labels = np.asarray(labels)
    n = _count(labels, fraction)
    from sklearn.utils import resample

    rng = np.random.RandomState(seed)
    drawn = resample(
        np.arange(len(labels)), replace=False, n_samples=n, stratify=labels, random_state=rng
    )
    return np.asarray(drawn, dtype=np.int64)


def semi_supervised_per_class(labels: np.ndarray, fraction: float, seed: int = 123) -> np.ndarray:
    """round(fraction * n_c) samples of every class c, by Python's generator; sorted.

    A sampler of the original's ancestors that none of its recipes uses: no class can be lost by
    the share of another, but small ones can round to 0.

    Args:
        labels: int (N,).
        fraction: Share of each class.
        seed: Seed of Python's generator.

    Returns:
        int64 (n,).

    Raises:
        UserError: See :func:`semi_supervised`.
    """
    labels = np.asarray(labels)
    _count(labels, fraction)
    rng = random.Random(seed)
    drawn: list[int] = []
    for label in dict.fromkeys(labels.tolist()):  # classes in the order of their first sample
        members = np.flatnonzero(labels == label).tolist()
        drawn += rng.sample(members, round(fraction * len(members)))
    return np.sort(np.array(drawn, dtype=np.int64))


def group_folds(groups: Sequence[str] | np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """Fold of every sample; samples of one group (clip, recording) share a fold.

    Groups are dealt out in a random order, the next one always to the fold with the fewest
    samples, so that folds differ by one group at most.

    Args:
        groups: (N,) names.
        folds: Number of folds.
        seed: Seed of the order.

    Returns:
        int64 (N,), 0 to folds - 1.

    Raises:
        UserError: Fewer than 2 folds, or fewer groups than folds.
    """
    names, member, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if folds < 2 or len(names) < folds:
        raise UserError(
            f"{folds} folds of {len(names)} groups (clips or recordings): use 2 folds or more, and "
            "no more than there are groups"
        )
    fold_of, filled = np.empty(len(names), dtype=np.int64), np.zeros(folds, dtype=np.int64)
    for group in np.random.default_rng(seed).permutation(len(names)):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[member]


def uncertainty_halves(uncertainty: np.ndarray) -> Halves:
    """Samples with an uncertainty below the median, and those with at least the median."""
    uncertainty = np.asarray(uncertainty)
    median = float(np.median(uncertainty))
    return Halves(
        median, np.flatnonzero(uncertainty < median), np.flatnonzero(uncertainty >= median)
    )


def _count(labels: np.ndarray, fraction: float) -> int:
    n = int(fraction * len(labels))
    if not 0 < fraction <= 1 or n < 1:
        raise UserError(
            f"a fraction of {fraction:g} of {len(labels)} samples is {n} samples; choose more than "
            "0 and at most 1 so that at least one is left"
        )
    return n
