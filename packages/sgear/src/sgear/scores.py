"""Accuracies of class scores, from the place of the true class in each row.

One pass over the scores gives the number of classes ahead of the true one; every figure (top-k,
recall of a class, of a subset of items) is then a count over N numbers. The original sorts whole
rows and builds dense one-hot matrices, for every figure again.

Letters: N items, C classes. Figures are percent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from behaviorzoo.errors import UserError

TOP = 5
"""k of the class-mean recall, and of the second accuracy."""

_EMPTY = float("nan")


@dataclass(frozen=True)
class Accuracy:
    """What a table of results says of one space of classes, in percent; nan where nothing counts.

    Attributes:
        top1: Share of items whose class has the highest score.
        top5: Share of items whose class is among the five highest.
        recall5: Mean over the classes that occur of their top-5 share.
        top1_class_mean: Mean over all C classes of their top-1 share; a class that does not
            occur counts 0, as in the original.
        recall5_per_class: Class -> its top-5 share; nan where the class does not occur.
    """

    top1: float
    top5: float
    recall5: float
    top1_class_mean: float
    recall5_per_class: dict[int, float]


@dataclass(frozen=True)
class Ranking:
    """Where the true class stands in each row of scores.

    Attributes:
        labels: int64 (N,), all of them from 0.
        ranks: int64 (N,), classes ahead of the true one; 0 is a hit. Among equal scores the
            higher class comes first, as when an ascending stable sort is reversed (where five
            are ahead anyhow, equal ones are not counted).
        right: bool (N,), the true class is the first of the highest scores (``argmax``).
        n_classes: C.
        unlabelled: Items that were dropped because their label is negative.
    """

    labels: np.ndarray
    ranks: np.ndarray
    right: np.ndarray
    n_classes: int
    unlabelled: int = 0

    def select(self, items: np.ndarray) -> Ranking:
        """The ranking of some of the items, given by a mask or by indices."""
        return Ranking(self.labels[items], self.ranks[items], self.right[items], self.n_classes)

    def accuracy(self, classes: Iterable[int] | None = None) -> Accuracy:
        """Figures over all items, or over those of some classes.

        Args:
            classes: Classes that count; default: all from 0 to the highest label. The mean
                class top-1 is over all items and classes in any case, as in the original.
        """
        if not len(self.labels):
            return Accuracy(_EMPTY, _EMPTY, _EMPTY, _EMPTY, {})
        highest = int(self.labels.max()) + 1
        counted = np.zeros(max(self.n_classes, highest), dtype=bool)
        chosen = np.arange(highest) if classes is None else np.array(sorted(set(classes)), int)
        counted[chosen[(chosen >= 0) & (chosen < len(counted))]] = True

        size = len(counted)
        items = np.bincount(self.labels, minlength=size)
        within = np.bincount(self.labels[self.ranks < TOP], minlength=size)
        hits = np.bincount(self.labels[self.right], minlength=size)
        first = np.bincount(self.labels[self.ranks == 0], minlength=size)

        share = 100.0 * np.divide(within, items, out=np.full(size, np.nan), where=items > 0)
        present = counted & (items > 0)
        number = items[present].sum()
        return Accuracy(
            top1=_percent(first[present].sum(), number),
            top5=_percent(within[present].sum(), number),
            recall5=float(share[present].mean()) if present.any() else _EMPTY,
            top1_class_mean=100.0 * float((hits / (items + 1e-15)).sum()) / self.n_classes,
            recall5_per_class={
                int(c): float(share[c]) if 0 <= c < size else _EMPTY for c in chosen
            },
        )


def rank_true_classes(scores: np.ndarray, labels: np.ndarray, where: str = "scores") -> Ranking:
    """Find the place of the true class in each row.

    Args:
        scores: (N, C) real numbers, higher is likelier.
        labels: int (N,); items with a negative label are dropped and counted.
        where: What the scores belong to, for messages.

    Raises:
        UserError: The shapes do not fit, a label is beyond the classes, or a score is nan.
    """
    scores, labels = np.asarray(scores), np.asarray(labels).astype(np.int64)
    if scores.ndim != 2 or labels.shape != (len(scores),) or not scores.shape[1]:
        raise UserError(
            f"{where}: scores {scores.shape} and labels {labels.shape}; expected (items, classes) "
            "and one label for each item"
        )
    known = labels >= 0
    unlabelled = int((~known).sum())
    if unlabelled:
        scores, labels = scores[known], labels[known]
    n_classes = scores.shape[1]
    if len(labels) and labels.max() >= n_classes:
        raise UserError(
            f"{where}: label {int(labels.max())}, but there are {n_classes} classes, from 0"
        )
    own = scores[np.arange(len(labels)), labels]
    # Row by row: a row stays in the cache, and nothing (N, C) is made.
    rows = zip(scores, own, strict=True)
    ahead = np.array([np.count_nonzero(row > value) for row, value in rows], dtype=np.int64)
    right = ahead == 0
    for item in np.flatnonzero(ahead < TOP).tolist():  # further behind, ties change nothing
        if np.count_nonzero(scores[item] >= own[item]) == ahead[item] + 1:
            continue
        ties = np.flatnonzero(scores[item] == own[item])
        if not len(ties):  # not equal to itself
            raise UserError(f"{where}: scores of item {item} are not numbers")
        ahead[item] += int((ties > labels[item]).sum())
        right[item] &= ties[0] == labels[item]
    return Ranking(labels, ahead, right, n_classes, unlabelled)


def accuracy_table(
    scores: np.ndarray, labels: np.ndarray, classes: Iterable[int] | None = None
) -> Accuracy:
    """Figures of scores (N, C) against labels (N,), see :meth:`Ranking.accuracy`.

    Items with a negative label are dropped. Without items every figure is nan.

    Raises:
        UserError: See :func:`rank_true_classes`.
    """
    if not len(labels):
        return Accuracy(_EMPTY, _EMPTY, _EMPTY, _EMPTY, {})
    return rank_true_classes(scores, labels).accuracy(classes)


def _percent(count: int, number: int) -> float:
    return 100.0 * float(count) / float(number) if number else _EMPTY
