"""Average precision: per class over samples (mAP), or per sample over classes (mmit mAP).

The precision at every distinct score, weighed by the gain in recall there; no interpolation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uas_swin.compat import check_compat


class PrecisionRecall(NamedTuple):
    """A curve over D distinct thresholds, ascending, cut where recall is complete.

    Attributes:
        precision: (D + 1,), ends with 1.
        recall: (D + 1,), descending, ends with 0.
        thresholds: (D,).
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray


def precision_recall_curve(scores: NDArray, truth: NDArray) -> PrecisionRecall:
    """Precision and recall when everything at or above a score counts as positive.

    Args:
        scores: (n,).
        truth: (n,), 1 where positive.

    Returns:
        The curve; recall is NaN where nothing is positive.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    scores, truth = np.asarray(scores)[order], np.asarray(truth)[order] == 1
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of each distinct score
    hits = np.cumsum(truth)[last]
    complete = int(np.searchsorted(hits, hits[-1]))
    hits, last = hits[complete::-1], last[complete::-1]
    with np.errstate(invalid="ignore"):
        recall = hits / truth.sum()
    return PrecisionRecall(np.append(hits / (last + 1), 1.0), np.append(recall, 0.0), scores[last])


def average_precisions(scores: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Average precision of every column.

    Args:
        scores: (n, C).
        truth: (n, C), 1 where positive.

    Returns:
        (C,); NaN where nothing is positive.
    """
    order = np.argsort(-np.asarray(scores), axis=0, kind="stable")
    scores = np.take_along_axis(np.asarray(scores), order, axis=0)
    hits = np.cumsum(np.take_along_axis(np.asarray(truth) == 1, order, axis=0), axis=0)
    precision = hits / np.arange(1, len(scores) + 1)[:, None]
    # Equal scores stand or fall together: only the last of them is a point of the curve, and the
    # gain in recall is counted from the point before.
    point = np.ones(scores.shape, dtype=bool)
    point[:-1] = np.diff(scores, axis=0) != 0
    reached = np.maximum.accumulate(np.where(point, hits, 0), axis=0)
    before = np.zeros_like(reached)
    before[1:] = reached[:-1]
    gain = np.where(point, hits - before, 0)
    with np.errstate(invalid="ignore"):
        return (gain * precision).sum(axis=0) / hits[-1]


def mean_average_precision(scores: NDArray, truth: NDArray) -> float:
    """Mean over classes; those without any positive sample are left out.

    Args:
        scores: (n, C).
        truth: (n, C), 1 where a class is true.

    Returns:
        NaN where no class has a positive sample.
    """
    each = average_precisions(scores, truth)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def mmit_mean_average_precision(scores: NDArray, truth: NDArray, compat: str = "upstream") -> float:
    """Mean over samples of the average precision over their classes (Multi-Moments in Time).

    Args:
        scores: (n, C).
        truth: (n, C), 1 where a class is true.
        compat: A sample without any class makes ``upstream`` NaN; ``corrected`` leaves it out.
    """
    check_compat(compat)
    each = average_precisions(np.asarray(scores).T, np.asarray(truth).T)
    if compat == "corrected":
        each = each[np.isfinite(each)]
    return float(each.mean()) if len(each) else float("nan")
