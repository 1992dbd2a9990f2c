"""Accuracies of single-label scores, by the original's rules or mended.

Letters: n samples, C classes. ``compat="upstream"`` gives the original's numbers; ``"corrected"``
what they were meant to be, as each function says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uas_swin.compat import check_compat
from uas_swin.metrics.tie_order import argsort_rows


class Confusion(NamedTuple):
    """Counts of true and predicted class.

    Attributes:
        counts: (L, L) int64, rows are the truth.
        labels: (L,) class ids of rows and columns, ascending.
    """

    counts: NDArray[np.int64]
    labels: NDArray[np.int64]


def in_top_k(scores: NDArray, k: int, compat: str = "upstream") -> NDArray[np.bool_]:
    """Which classes are among the k with the largest scores.

    Args:
        scores: (n, C).
        k: Number of classes; all of them where there are fewer.
        compat: Which of several equal scores are taken: ``upstream`` the last ones in the order in
            which the original's sort leaves them (:mod:`uas_swin.metrics.tie_order`; mostly
            those with the largest ids), so that top 1 is not always the predicted class, which
            has the smallest; ``corrected`` those with the smallest ids.

    Returns:
        (n, C), k times True in every row.
    """
    check_compat(compat)
    scores = np.asarray(scores)
    k = min(k, scores.shape[1])
    if compat == "upstream":
        taken = argsort_rows(scores)[:, scores.shape[1] - k :]
    else:
        taken = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    inside = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(inside, taken, True, axis=1)
    return inside


def top_k_accuracy(
    scores: NDArray, labels: NDArray[np.integer], k: int = 1, compat: str = "upstream"
) -> float:
    """Share of samples whose class is among the k with the largest scores.

    Args:
        scores: (n, C).
        labels: Class ids (n,).
        k: Number of classes.
        compat: For equal scores, see :func:`in_top_k`.
    """
    hit = np.take_along_axis(in_top_k(scores, k, compat), np.asarray(labels)[:, None], axis=1)
    return float(hit.mean())


def confusion_matrix(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> Confusion:
    """Count the pairs of true and predicted class, over all ids that occur as either.

    Args:
        predicted: Class ids (n,).
        labels: Class ids (n,).
    """
    both = np.concatenate([np.asarray(labels), np.asarray(predicted)]).astype(np.int64)
    ids, places = np.unique(both, return_inverse=True)
    truth, guess = np.split(places.reshape(-1), 2)
    counts = np.bincount(truth * len(ids) + guess, minlength=len(ids) ** 2)
    return Confusion(counts.reshape(len(ids), len(ids)), ids)


def mean_class_accuracy(
    scores: NDArray, labels: NDArray[np.integer], compat: str = "upstream"
) -> float:
    """Mean over classes of the share of their samples that is predicted right.

    Args:
        scores: (n, C); the prediction is the class with the largest score, the smallest id of
            equal ones.
        labels: Class ids (n,).
        compat: ``upstream`` takes the mean over all classes that are true OR predicted somewhere,
            those without a sample count 0: predicting a class that never occurs lowers it.
            ``corrected`` takes the classes that have samples (balanced accuracy).
    """
    check_compat(compat)
    counts, _ = confusion_matrix(np.asarray(scores).argmax(axis=1), labels)
    total, hits = counts.sum(axis=1), np.diagonal(counts)
    recall = hits / np.maximum(total, 1)
    return float(recall.mean() if compat == "upstream" else recall[total > 0].mean())


def micro_macro_accuracy(
    scores: NDArray, labels: NDArray[np.integer], compat: str = "upstream"
) -> tuple[float, float]:
    """Accuracy over samples, and mean over classes.

    ``upstream`` gives the first in single precision.
    """
    right = (np.asarray(scores).argmax(axis=1) == np.asarray(labels)).mean()
    micro = float(np.float32(right)) if compat == "upstream" else float(right)
    return micro, mean_class_accuracy(scores, labels, compat)


def micro_top_k_accuracy(
    scores: NDArray, truth: NDArray, k: int = 1, compat: str = "upstream"
) -> float:
    """Share of samples with at least one of their classes among the k with the largest scores.

    Args:
        scores: (n, C).
        truth: (n, C), 1 where a class is true. A sample without any counts as missed.
        k: Number of classes.
        compat: For equal scores, see :func:`in_top_k`; ``corrected`` also leaves out samples
            without any class.
    """
    truth = np.asarray(truth) > 0
    hit = np.logical_or.reduce(in_top_k(scores, k, compat) & truth, axis=1)
    if compat == "corrected":
        hit = hit[np.logical_or.reduce(truth, axis=1)]
    return float(hit.mean()) if hit.size else float("nan")


def macro_top_k_accuracy(scores: NDArray, truth: NDArray, k: int = 1) -> float:
    """Mean over classes of the share of their samples where they are among the k largest scores.

    The original's own function always fails (an undefined name); this is what it was meant to do.

    Args:
        scores: (n, C).
        truth: (n, C), 1 where a class is true; classes without samples are left out.
        k: Number of classes.
    """
    truth = np.asarray(truth) > 0
    hits = (in_top_k(scores, k, "corrected") & truth).sum(axis=0)
    total = truth.sum(axis=0)
    return float((hits[total > 0] / total[total > 0]).mean()) if total.any() else float("nan")
