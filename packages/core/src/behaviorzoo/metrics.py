"""Scores of predictions, from counts: many classes and many tasks at once, no loop over frames.

Values agree with scikit-learn with ``zero_division=0``: a ratio whose denominator is zero is 0.
Which classes enter a mean is said at each function.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
    """Scores per class, each (n_classes,) float64 in [0, 1]."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count the frames of every pair of classes.

    Args:
        truth: Class codes (n,); negative = unlabelled, such frames are not counted.
        predicted: Class codes (n,) from 0 to ``n_classes - 1``.
        n_classes: Number of classes.

    Returns:
        Counts (n_classes, n_classes) int64; rows are the truth, columns the prediction.

    Raises:
        ValueError: The lengths differ, or a code is out of range.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and predicted {predicted.shape} must be (n,)")
    labelled = truth >= 0
    truth, predicted = truth[labelled].astype(np.int64), predicted[labelled].astype(np.int64)
    if truth.size and not (
        truth.max() < n_classes and predicted.max() < n_classes and predicted.min() >= 0
    ):
        raise ValueError(f"class codes must be from 0 to {n_classes - 1}")
    pairs = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return pairs.reshape(n_classes, n_classes)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class.

    A class that is neither true nor predicted anywhere scores 0.

    Args:
        confusion: Counts (n_classes, n_classes), rows = truth.
    """
    hits = np.diagonal(confusion).astype(np.float64)
    actual, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, actual),
        f1=f1_from_counts(hits, predicted, actual),
    )


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 of the classes that occur in the truth or in the prediction."""
    occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(class_scores(confusion).f1[occurs].mean()) if occurs.any() else 0.0


def accuracy(confusion: np.ndarray) -> float:
    """Share of frames whose class is right; 0 without frames."""
    return float(_ratio(np.trace(confusion), confusion.sum()))


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Mean recall of the classes that occur in the truth; 0 without frames."""
    occurs = confusion.sum(axis=1) > 0
    return float(class_scores(confusion).recall[occurs].mean()) if occurs.any() else 0.0


def f1_from_counts(
    hits: np.ndarray | float, predicted: np.ndarray | float, actual: np.ndarray | float
) -> np.ndarray:
    """F1 = 2 hits / (predicted + actual) for any number of tasks at once.

    Args:
        hits: True positives, any shape.
        predicted: Predicted positives, same shape.
        actual: Positives in the truth, same shape.

    Returns:
        F1, same shape; 0 where nothing is predicted and nothing is true.
    """
    return _ratio(2.0 * np.asarray(hits), np.asarray(predicted) + np.asarray(actual))


def binary_f1(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of the positive class for many binary tasks at once.

    Args:
        truth: (..., n) bool.
        predicted: (..., n) bool.

    Returns:
        F1 (...).
    """
    truth, predicted = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool)
    hits = np.count_nonzero(truth & predicted, axis=-1)
    return f1_from_counts(
        hits, np.count_nonzero(predicted, axis=-1), np.count_nonzero(truth, axis=-1)
    )


def mean_squared_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of the squared differences, in float64."""
    error = np.asarray(truth, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)
    return float(np.mean(np.square(error)))


def r2_score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance that is explained.

    A constant truth gives 1 if it is met exactly, else 0, as in scikit-learn.
    """
    truth = np.asarray(truth, dtype=np.float64)
    spread = float(np.sum(np.square(truth - truth.mean())))
    residual = float(np.sum(np.square(truth - np.asarray(predicted, dtype=np.float64))))
    if spread == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / spread


def chance_f1(guessed_share: np.ndarray | float, true_share: np.ndarray | float) -> np.ndarray:
    """Expected F1 of a guess that ignores the data.

    The guess says "positive" on a share q of the frames at random; a share p is positive. The
    expected counts are p q hits, q predicted, p true, so F1 = 2 p q / (p + q).

    Args:
        guessed_share: q; a stratified guess takes the share in the training frames.
        true_share: p, the share in the test frames.
    """
    guessed_share, true_share = np.asarray(guessed_share), np.asarray(true_share)
    return f1_from_counts(guessed_share * true_share, guessed_share, true_share)


def _ratio(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    numerator = np.asarray(numerator, dtype=np.float64)
    denominator = np.asarray(denominator, dtype=np.float64)
    return np.divide(numerator, denominator, out=np.zeros(denominator.shape), where=denominator > 0)
