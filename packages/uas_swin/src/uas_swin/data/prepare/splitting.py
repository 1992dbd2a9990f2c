"""Parting videos into training and validation where the data set does not say how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from behaviorzoo.errors import UserError


def held_out(
    labels: Sequence[int], share: float, seed: int, groups: Sequence[str] | None = None
) -> list[bool]:
    """Which videos are held out.

    Args:
        labels: Class of each video (n,).
        share: Share of each class that is held out. Without groups every class with at least two
            videos has one on either side.
        seed: Decides which.
        groups: What must not be parted, such as the recording a clip was cut from (n,); shares
            are then only met as far as whole groups allow.

    Returns:
        (n,).

    Raises:
        UserError: The share is not between 0 and 1, or there are too few groups for it.
    """
    if not 0 < share < 1:
        raise UserError(f"share {share}: the share to hold out is between 0 and 1, such as 0.2")
    if groups is None:
        return _per_class(np.asarray(labels), share, seed)
    return _by_groups(labels, share, seed, groups)


def _per_class(labels: np.ndarray, share: float, seed: int) -> list[bool]:
    rng = np.random.default_rng(seed)
    out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        number = min(max(round(share * len(own)), 1), len(own) - 1)
        out[rng.permutation(own)[:number]] = True
    return out.tolist()


def _by_groups(labels: Sequence[int], share: float, seed: int, groups: Sequence[str]) -> list[bool]:
    """Whole groups, rare classes first, so that each class comes near its share."""
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(f"all videos belong to one group, {names[0]!r}: nothing can be held out")
    size = max(labels) + 1
    counts = np.zeros((len(names), size))  # [groups, classes]
    place = {name: number for number, name in enumerate(names)}
    for label, group in zip(labels, groups, strict=True):
        counts[place[group], label] += 1
    total = np.maximum(counts.sum(axis=0), 1)
    wanted, taken = share * np.ones(size), np.zeros(size)
    chosen: set[int] = set()
    # A group is taken if the shares of the classes come nearer to what is wanted by it.
    order = np.random.default_rng(seed).permutation(len(names))
    rarest = (np.where(counts > 0, total, np.inf)).min(axis=1)
    for number in sorted(order.tolist(), key=lambda n: rarest[n]):
        with_it = taken + counts[number] / total
        if np.square(with_it - wanted).sum() < np.square(taken - wanted).sum():
            taken = with_it
            chosen.add(number)
    if not chosen or len(chosen) == len(names):
        chosen = {int(order[0])}
    return [place[group] in chosen for group in groups]
