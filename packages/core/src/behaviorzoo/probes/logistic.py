"""Multinomial logistic regression on standardised features: the slow probe, for comparison."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np


def fit_logistic(
    features: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    *,
    alpha: float = 1.0,
    balanced: bool = False,
    max_iter: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit scikit-learn's ``LogisticRegression(C=1 / alpha)`` on standardised features.

    Args:
        features: (n, D).
        codes: Class codes (n,), -1 = unlabelled.
        n_classes: C.
        alpha: Penalty, the inverse of scikit-learn's ``C``.
        balanced: Weigh the classes equally.
        max_iter: Upper bound of the iterations.

    Returns:
        Coefficients (C, D) and intercepts (C,) for the raw features; predict the class with the
        largest value. Classes without frames have the intercept minus infinity.

    Raises:
        ValueError: No labelled frames.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    labelled = codes >= 0
    features, codes = features[labelled], codes[labelled]
    present = np.unique(codes)
    coef = np.zeros((n_classes, features.shape[1]))
    intercept = np.full(n_classes, -np.inf)
    if not len(present):
        raise ValueError("there are no labelled frames to fit")
    if len(present) == 1:
        intercept[present] = 0.0
        return coef, intercept
    scaler = StandardScaler().fit(features)
    weight = "balanced" if balanced else None
    model = LogisticRegression(C=1.0 / alpha, class_weight=weight, max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(features), codes)
    scaled, offset = model.coef_, model.intercept_
    scale, mean = np.asarray(scaler.scale_), np.asarray(scaler.mean_)
    if len(present) == 2:  # scikit-learn keeps the second class only
        scaled, offset = np.concatenate([-scaled, scaled]), np.concatenate([-offset, offset])
    coef[present] = scaled / scale
    intercept[present] = offset - coef[present] @ mean
    return coef, intercept


def choose_logistic_penalty(
    features: Sequence[np.ndarray],
    codes: Sequence[np.ndarray],
    n_classes: int,
    alphas: Sequence[float],
    *,
    balanced: bool = False,
) -> float:
    """Penalty by cross-validation over folds of recordings, by accuracy (ties: the first).

    Args:
        features: One array (n, D) per fold.
        codes: One array (n,) per fold.
        n_classes: C.
        alphas: Penalties to choose from; a single one is returned as it is.
        balanced: As in the fit; then the score is the mean recall.
    """
    if len(alphas) == 1 or len(features) < 2:
        return alphas[len(alphas) // 2]
    from behaviorzoo.metrics import accuracy, balanced_accuracy, confusion_matrix

    score = balanced_accuracy if balanced else accuracy
    results = []
    for alpha in alphas:
        confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        for left_out in range(len(features)):
            others = [i for i in range(len(features)) if i != left_out]
            train = np.concatenate([codes[i] for i in others])
            if not (train >= 0).any():
                continue
            coef, intercept = fit_logistic(
                np.concatenate([features[i] for i in others]),
                train,
                n_classes,
                alpha=alpha,
                balanced=balanced,
            )
            values = features[left_out] @ coef.T + intercept
            confusion += confusion_matrix(codes[left_out], values.argmax(axis=1), n_classes)
        results.append(score(confusion))
    return alphas[int(np.argmax(results))]
