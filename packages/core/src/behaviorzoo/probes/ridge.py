"""Ridge regression and ridge classification, solved from sums of frames.

Minimises sum_i w_i (t_i - x_i . b - c)^2 + a |b|^2 over (b, c): the intercept is not penalised
and the penalty a is not divided by the number of frames, as in ``sklearn.linear_model.Ridge`` and
``RidgeClassifier``. With the weighted mean m and the centred Gram matrix S this is
(S + a I) b = r, c = mean(t) - m . b. One eigen-decomposition of S serves all penalties.

The matrices G come from :class:`behaviorzoo.probes.sums.ProbeSums`. Letters: A penalties,
B sets of frames, C classes, D features, E = D + 1, F folds, K targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearModels:
    """Linear functions of the features, for several penalties and targets.

    Attributes:
        alphas: Penalties (A,).
        coef: (A, K, D).
        intercept: (A, K). Minus infinity marks a class that was absent from the training.
    """

    alphas: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray

    def at(self, choice: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (K, D) and intercepts (K,) at one penalty index, or one per target."""
        targets = np.arange(self.coef.shape[1])
        return self.coef[choice, targets], self.intercept[choice, targets]

    def decision(self, features: np.ndarray, choice: np.ndarray | int = 0) -> np.ndarray:
        """Values (n, K) of features (n, D) at a penalty index."""
        coef, intercept = self.at(choice)
        return features @ coef.T + intercept

    def shifted(self, shift: np.ndarray) -> LinearModels:
        """The same functions of features from which ``shift`` (D,) was not taken."""
        return LinearModels(self.alphas, self.coef, self.intercept - self.coef @ shift)


def fit_classes(
    sums: np.ndarray,
    alphas: Sequence[float],
    *,
    balanced: bool = True,
    standardise: bool = False,
    shift: np.ndarray | None = None,
) -> LinearModels:
    """Multi-class ridge classifier; predict the class with the largest value.

    Equals ``RidgeClassifier(alpha, class_weight="balanced")``: targets +1 for the class and -1
    for all others, weights n / (C' n_class) with C' the number of classes that occur.

    Args:
        sums: G of each class (C, E, E), summed over the training groups.
        alphas: Penalties, >= 0.
        balanced: Balance the classes; else every frame weighs 1.
        standardise: Penalise as if every feature had mean 0 and standard deviation 1 on the
            training frames (constant features are left as they are). The result still applies
            to the raw features.
        shift: Shift of the features in ``sums`` (D,), see :class:`ProbeSums`.

    Returns:
        Models with K = C targets. Classes without frames have the intercept minus infinity.

    Raises:
        ValueError: No frames at all.
    """
    targets = 2.0 * np.eye(len(sums)) - 1.0
    models = _fit(sums, targets, alphas, balanced, standardise)
    absent = sums[:, -1, -1] <= 0
    intercept = np.where(absent, -np.inf, models.intercept)
    return LinearModels(models.alphas, models.coef, intercept).shifted(_or_zero(shift, sums))


def fit_binary(
    negative: np.ndarray,
    positive: np.ndarray,
    alphas: Sequence[float],
    *,
    balanced: bool = True,
    standardise: bool = False,
    shift: np.ndarray | None = None,
) -> LinearModels:
    """Two-class ridge classifier; predict positive where the value is > 0.

    Equals ``RidgeClassifier`` with two classes. If one class has no frames, the model is the
    constant of the other.

    Args:
        negative: G of the negative frames (E, E).
        positive: G of the positive frames (E, E).
        alphas: Penalties, >= 0.
        balanced: See :func:`fit_classes`.
        standardise: See :func:`fit_classes`.
        shift: See :func:`fit_classes`.

    Returns:
        Models with K = 1 target.
    """
    sums = np.stack([negative, positive])
    models = _fit(sums, np.array([[-1.0], [1.0]]), alphas, balanced, standardise)
    return models.shifted(_or_zero(shift, sums))


def fit_one_vs_rest(
    sums: np.ndarray,
    alphas: Sequence[float],
    *,
    balanced: bool = True,
    standardise: bool = False,
    shift: np.ndarray | None = None,
) -> LinearModels:
    """One binary classifier per class against all others, each balanced on its own.

    Args:
        sums: G of each class (C, E, E), summed over the training groups.
        alphas: Penalties, >= 0.
        balanced: See :func:`fit_classes`.
        standardise: See :func:`fit_classes`.
        shift: See :func:`fit_classes`.

    Returns:
        Models with K = C targets; a class is predicted where its value is > 0.
    """
    whole = sums.sum(axis=0)
    options = {"balanced": balanced, "standardise": standardise, "shift": shift}
    return joined([fit_binary(whole - part, part, alphas, **options) for part in sums])


def fit_values(
    gram: np.ndarray,
    moments: np.ndarray,
    alphas: Sequence[float],
    *,
    standardise: bool = False,
    shift: np.ndarray | None = None,
) -> LinearModels:
    """Ridge regression, equal to ``sklearn.linear_model.Ridge(alpha)``.

    Args:
        gram: G of the labelled frames (E, E).
        moments: Sum of y x~ over them, (E,) or (E, K).
        alphas: Penalties, >= 0.
        standardise: See :func:`fit_classes`.
        shift: See :func:`fit_classes`.

    Returns:
        Models with K targets.
    """
    moments = moments.reshape(len(gram), -1)
    models = _solve(gram, moments, alphas, gram if standardise else None)
    return models.shifted(_or_zero(shift, gram[None]))


def choose_penalties(
    folds: np.ndarray,
    alphas: Sequence[float],
    *,
    one_vs_rest: bool = False,
    balanced: bool = True,
    standardise: bool = False,
) -> np.ndarray:
    """Penalties by the squared error of cross-validation over groups, from their sums alone.

    What is compared is the (balanced) squared error of the targets +-1 on the group left out: it
    is a quadratic form in the sums, so no frame is looked at again. It tends to larger penalties
    than F1 does, see :mod:`behaviorzoo.probes.selection`.

    Args:
        folds: G per fold and class (F, C, E, E), F >= 2.
        alphas: Penalties to choose from.
        one_vs_rest: Choose for each class on its own (:func:`fit_one_vs_rest`) instead of once
            for all (:func:`fit_classes`).
        balanced: As in the fit.
        standardise: As in the fit.

    Returns:
        Index into ``alphas`` per class (C,). With fewer than two folds with frames there is
        nothing to compare: the middle of the list.
    """
    n_classes = folds.shape[1]
    folds = folds[folds[:, :, -1, -1].sum(axis=1) > 0]
    if len(folds) < 2 or len(alphas) == 1:
        return np.full(n_classes, len(alphas) // 2)
    if not one_vs_rest:
        targets = 2.0 * np.eye(n_classes) - 1.0
        losses = _left_out_losses(folds, targets, alphas, balanced, standardise)
        return np.full(n_classes, int(losses.sum(axis=1).argmin()))
    whole = folds.sum(axis=1)
    binary = np.array([[-1.0], [1.0]])
    return np.array(
        [
            int(
                _left_out_losses(
                    np.stack([whole - folds[:, c], folds[:, c]], axis=1),
                    binary,
                    alphas,
                    balanced,
                    standardise,
                ).argmin()
            )
            for c in range(n_classes)
        ]
    )


def choose_value_penalty(
    grams: np.ndarray,
    moments: np.ndarray,
    squares: np.ndarray,
    alphas: Sequence[float],
    *,
    standardise: bool = False,
) -> int:
    """Penalty of a regression by cross-validation over groups; see :func:`choose_penalties`.

    Args:
        grams: G per fold (F, E, E).
        moments: Sum of y x~ per fold (F, E).
        squares: Sum of y^2 per fold (F,).
        alphas: Penalties to choose from.
        standardise: As in the fit.

    Returns:
        Index into ``alphas``.
    """
    filled = grams[:, -1, -1] > 0
    grams, moments, squares = grams[filled], moments[filled], squares[filled]
    if len(grams) < 2 or len(alphas) == 1:
        return len(alphas) // 2
    loss = np.zeros(len(alphas))
    for gram, moment, square in zip(grams, moments, squares, strict=True):
        train = grams.sum(axis=0) - gram
        models = fit_values(train, moments.sum(axis=0) - moment, alphas, standardise=standardise)
        loss += _squared_error(models, gram, moment[:, None], square)[:, 0]
    return int(loss.argmin())


def _left_out_losses(
    folds: np.ndarray,
    targets: np.ndarray,
    alphas: Sequence[float],
    balanced: bool,
    standardise: bool,
) -> np.ndarray:
    """Squared error (A, K) over all folds, each predicted from the others."""
    total = folds.sum(axis=0)
    weights = _weights(total[:, -1, -1], balanced)
    losses = np.zeros((len(alphas), targets.shape[1]))
    for fold in folds:
        models = _fit(total - fold, targets, alphas, balanced, standardise)
        losses += _squared_error(models, *_weighted(fold, weights, targets))
    return losses


def _squared_error(
    models: LinearModels, gram: np.ndarray, moments: np.ndarray, squares: np.ndarray
) -> np.ndarray:
    """Sum of w (t - x . b - c)^2 = v G v - 2 v . m + s with v = (b, c); shape (A, K)."""
    v = np.concatenate([models.coef, models.intercept[..., None]], axis=2)
    quadratic = ((v @ gram) * v).sum(axis=2)
    return quadratic - 2.0 * np.einsum("akf,fk->ak", v, moments) + squares


def _fit(
    sums: np.ndarray,
    targets: np.ndarray,
    alphas: Sequence[float],
    balanced: bool,
    standardise: bool,
) -> LinearModels:
    """Fit targets (B, K) that are constant on each set of frames with sums (B, E, E)."""
    weights = _weights(sums[:, -1, -1], balanced)
    gram, moments, _ = _weighted(sums, weights, targets)
    return _solve(gram, moments, alphas, sums.sum(axis=0) if standardise else None)


def _weights(counts: np.ndarray, balanced: bool) -> np.ndarray:
    """Weight of a frame of each set: n / (number of sets that occur * count), or 1."""
    occurs = counts > 0
    if not occurs.any():
        raise ValueError("there are no labelled frames to fit")
    if not balanced:
        return occurs.astype(np.float64)
    balancing = counts.sum() / (occurs.sum() * np.where(occurs, counts, 1.0))
    return np.where(occurs, balancing, 0.0)


def _weighted(
    sums: np.ndarray, weights: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted G (E, E), sum of w t x~ (E, K) and sum of w t^2 (K,)."""
    gram = np.einsum("b,bef->ef", weights, sums)
    moments = (weights[:, None] * sums[:, :, -1]).T @ targets
    squares = (weights * sums[:, -1, -1]) @ np.square(targets)
    return gram, moments, squares


def _solve(
    gram: np.ndarray,
    moments: np.ndarray,
    alphas: Sequence[float],
    spread: np.ndarray | None,
) -> LinearModels:
    """Solve for all penalties.

    Args:
        gram: Weighted G (E, E).
        moments: (E, K).
        alphas: (A,).
        spread: Unweighted G whose standard deviations scale the penalty; None = no scaling.
    """
    weight = gram[-1, -1]
    if not weight > 0:
        raise ValueError("there are no labelled frames to fit")
    mean, target_mean = gram[-1, :-1] / weight, moments[-1] / weight
    scale = np.ones_like(mean) if spread is None else _deviations(spread)
    centred = gram[:-1, :-1] - weight * np.outer(mean, mean)
    right = moments[:-1] - np.outer(mean, moments[-1])
    values, vectors = np.linalg.eigh(centred / np.outer(scale, scale))
    rotated = vectors.T @ (right / scale[:, None])
    values = values.clip(0.0)
    penalties = np.asarray(alphas, dtype=np.float64)
    # Directions without spread get no coefficient when there is no penalty (least norm).
    floor = np.finfo(np.float64).eps * len(values) * max(float(values.max(initial=0.0)), 1e-300)
    stiffness = values + penalties[:, None]
    gains = np.divide(1.0, stiffness, out=np.zeros_like(stiffness), where=stiffness > floor)
    coef = np.einsum("de,ae,ek->akd", vectors, gains, rotated, optimize=True) / scale
    return LinearModels(penalties, coef, target_mean - coef @ mean)


def _deviations(gram: np.ndarray) -> np.ndarray:
    """Standard deviation of each feature; 1 where it is constant up to rounding."""
    count = gram[-1, -1]
    mean = gram[-1, :-1] / count
    squares = np.diagonal(gram)[:-1] / count
    variance = squares - np.square(mean)
    constant = variance <= 10.0 * np.finfo(np.float64).eps * squares
    return np.sqrt(np.where(constant, 1.0, variance))


def joined(models: Sequence[LinearModels]) -> LinearModels:
    """Models with the same penalties as one, targets after each other."""
    return LinearModels(
        models[0].alphas,
        np.concatenate([model.coef for model in models], axis=1),
        np.concatenate([model.intercept for model in models], axis=1),
    )


def _or_zero(shift: np.ndarray | None, sums: np.ndarray) -> np.ndarray:
    return np.zeros(sums.shape[-1] - 1) if shift is None else shift
