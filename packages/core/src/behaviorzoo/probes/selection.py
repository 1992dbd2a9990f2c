"""Penalties chosen by the score that is reported: F1 on left-out folds of the training recordings.

The models without a fold follow from the sums (all folds minus that one), for all penalties at
once. One further pass over the training frames predicts every fold by the models that have not
seen it. The hits of all folds are counted together, so that a class weighs the same in a fold
where it is rare; F1 follows from the counts.

Letters: A penalties, C classes, D features, n frames, K outputs of all tasks and penalties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from behaviorzoo import metrics
from behaviorzoo.probes import ridge
from behaviorzoo.probes.sums import ClassTask, LevelSums

# F1 values this close are the same for a reader; the larger penalty then gives the calmer model.
NEAR = 1e-3
# Frames per matrix product, for a bounded memory.
_CHUNK = 4096


class Frames(NamedTuple):
    """Frames of one fold.

    Attributes:
        fold: Index of the fold, as in the groups of the sums.
        features: (n, width).
        targets: One array (n,) per task.
    """

    fold: int
    features: np.ndarray
    targets: Sequence[np.ndarray]


@dataclass
class LeftOutScores:
    """Counts of one level and task over the left-out folds, and the F1 that follow from them.

    Attributes:
        confusion: Of the multi-class models (A, C, C); rows = truth. Stays 0 without them.
        hits: True positives of the one-vs-rest models (A, C).
        predicted: Positives of the one-vs-rest models (A, C).
        actual: Frames of each class (C,).
    """

    confusion: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray

    @classmethod
    def empty(cls, n_alphas: int, n_classes: int) -> LeftOutScores:
        """Nothing counted yet."""
        shapes = (n_alphas, n_classes, n_classes), (n_alphas, n_classes), (n_alphas, n_classes)
        return cls(*(np.zeros(shape, np.int64) for shape in (*shapes, (n_classes,))))

    @property
    def one_vs_rest(self) -> np.ndarray:
        """F1 of each class against all others (A, C)."""
        return metrics.f1_from_counts(self.hits, self.predicted, self.actual)

    @property
    def macro(self) -> np.ndarray:
        """Mean F1 of the multi-class models over the classes that occur (A,)."""
        hits = np.diagonal(self.confusion, axis1=1, axis2=2)
        f1 = metrics.f1_from_counts(hits, self.confusion.sum(axis=1), self.actual)
        return f1[:, self.actual > 0].mean(axis=1)

    def add(self, truth: np.ndarray, outputs: np.ndarray) -> None:
        """Count frames.

        Args:
            truth: Codes (n,), -1 = unlabelled.
            outputs: Values (n, A, C) of the one-vs-rest models; (n, A, 2 C) with the values of
                the multi-class models in front.
        """
        labelled = truth >= 0
        truth, outputs = truth[labelled], outputs[labelled]
        n_alphas, n_classes = self.hits.shape
        positive = outputs[:, :, -n_classes:] > 0
        self.predicted += positive.sum(axis=0)
        self.actual += np.bincount(truth, minlength=n_classes)
        for c in np.unique(truth):
            self.hits[:, c] += positive[truth == c, :, c].sum(axis=0)
        if outputs.shape[2] > n_classes:
            named = outputs[:, :, :n_classes].argmax(axis=2)
            cells = (np.arange(n_alphas) * n_classes + truth[:, None]) * n_classes + named
            counts = np.bincount(cells.ravel(), minlength=self.confusion.size)
            self.confusion += counts.reshape(self.confusion.shape)


def score_left_out(
    levels: Mapping[str, LevelSums],
    frames: Iterable[Frames],
    train: Sequence[int],
    alphas: Sequence[float],
    *,
    multi_class: bool = True,
    balanced: bool = True,
    standardise: bool = False,
    chunk: int = _CHUNK,
) -> dict[tuple[str, int], LeftOutScores]:
    """Score every penalty on each fold, predicted from the other folds.

    Args:
        levels: Sums of every level, per fold.
        frames: The frames that are in the sums of the training folds, in any order and pieces.
        train: The training folds.
        alphas: Penalties to score.
        multi_class: Also score the models of :func:`ridge.fit_classes`.
        balanced: As in :func:`ridge.fit_classes`; the one-vs-rest models are always balanced.
        standardise: As in the fit.
        chunk: Frames per matrix product.

    Returns:
        (level, index of a task with classes) -> scores, for tasks with two folds or more that
        have labelled frames.
    """
    options = {"balanced": balanced, "standardise": standardise}
    models = {
        level: _left_out_models(sums, train, alphas, multi_class, options)
        for level, sums in levels.items()
    }
    scores: dict[tuple[str, int], LeftOutScores] = {}
    for fold, features, targets in frames:
        for start in range(0, len(features), chunk):
            rows = slice(start, start + chunk)
            for level, sums in levels.items():
                if fold not in models[level]:
                    continue
                outputs = models[level][fold].outputs(features[rows, sums.columns] - sums.shift)
                for t, values in outputs.items():
                    n_classes = len(_classes(sums, t))
                    empty = LeftOutScores.empty(len(alphas), n_classes)
                    scores.setdefault((level, t), empty).add(targets[t][rows], values)
    return scores


def choose_one_vs_rest(
    scores: LeftOutScores | None, folds: np.ndarray, alphas: Sequence[float], *, standardise: bool
) -> tuple[np.ndarray, list[str]]:
    """Penalty of each one-vs-rest model: the largest whose F1 is within 0.001 of the best.

    A class that is never hit, such as one that occurs in a single fold, cannot be compared by
    F1: its penalty is chosen by the squared error (:func:`ridge.choose_penalties`).

    Args:
        scores: Scores of the penalties; None = choose all by the squared error.
        folds: G per fold and class (F, C, E, E).
        alphas: Penalties to choose from.
        standardise: As in the fit.

    Returns:
        Index into ``alphas`` per class (C,), and what each was chosen by.
    """
    n_classes = folds.shape[1]
    if scores is None:
        chosen = ridge.choose_penalties(folds, alphas, one_vs_rest=True, standardise=standardise)
        return chosen, ["error"] * n_classes
    best = [_largest_near_best(f1, alphas) for f1 in scores.one_vs_rest.T]
    chosen = [
        _one_by_error(folds, c, alphas, standardise) if index is None else index
        for c, index in enumerate(best)
    ]
    return np.array(chosen), ["error" if index is None else "score" for index in best]


def choose_multi_class(
    scores: LeftOutScores | None,
    folds: np.ndarray,
    alphas: Sequence[float],
    *,
    balanced: bool,
    standardise: bool,
) -> tuple[int, str]:
    """Penalty of the multi-class model by its macro F1; see :func:`choose_one_vs_rest`."""
    best = None if scores is None else _largest_near_best(scores.macro, alphas)
    if best is not None:
        return best, "score"
    chosen = ridge.choose_penalties(folds, alphas, balanced=balanced, standardise=standardise)
    return int(chosen[0]), "error"


def _one_by_error(folds: np.ndarray, code: int, alphas: Sequence[float], standardise: bool) -> int:
    """Index of the penalty of one class against all others by the squared error."""
    pair = np.stack([folds.sum(axis=1) - folds[:, code], folds[:, code]], axis=1)
    # With two classes the multi-class error is twice that of either against the other.
    return int(ridge.choose_penalties(pair, alphas, standardise=standardise)[0])


def _largest_near_best(scores: np.ndarray, alphas: Sequence[float]) -> int | None:
    """Index of the largest penalty whose score (A,) is near the best; None if all are 0."""
    if not scores.any():
        return None
    near = np.flatnonzero(scores >= scores.max() - NEAR)
    return max(near.tolist(), key=lambda index: alphas[index])


class _FoldModels(NamedTuple):
    """Models of all tasks and penalties without one fold, as one matrix.

    Attributes:
        coef: (D, K), float32: a score needs no more digits.
        intercept: (K,) float32.
        tasks: Task -> its columns, and their number per penalty.
    """

    coef: np.ndarray
    intercept: np.ndarray
    tasks: dict[int, tuple[slice, int]]

    def outputs(self, features: np.ndarray) -> dict[int, np.ndarray]:
        """Task -> values (n, A, outputs per penalty) of shifted features (n, D)."""
        values = features.astype(np.float32) @ self.coef + self.intercept
        return {
            t: values[:, columns].reshape(len(values), -1, width)
            for t, (columns, width) in self.tasks.items()
        }


def _left_out_models(
    sums: LevelSums,
    train: Sequence[int],
    alphas: Sequence[float],
    multi_class: bool,
    options: Mapping[str, Any],
) -> dict[int, _FoldModels]:
    """Fold -> models that have not seen it."""
    parts: dict[int, dict[int, ridge.LinearModels]] = {fold: {} for fold in train}
    for t, task in enumerate(sums.sums.tasks):
        if not isinstance(task, ClassTask):
            continue
        folds = sums.classes(t, train)
        filled = np.flatnonzero(folds[:, :, -1, -1].sum(axis=1) > 0).tolist()
        if len(filled) < 2:
            continue
        whole = folds.sum(axis=0)
        for index in filled:
            rest = whole - folds[index]
            models = ridge.fit_one_vs_rest(rest, alphas, standardise=options["standardise"])
            if multi_class:
                models = ridge.joined([ridge.fit_classes(rest, alphas, **options), models])
            parts[train[index]][t] = models
    return {fold: _matrix(models) for fold, models in parts.items() if models}


def _matrix(models: Mapping[int, ridge.LinearModels]) -> _FoldModels:
    tasks: dict[int, tuple[slice, int]] = {}
    start = 0
    for t, model in models.items():
        n_alphas, width = model.intercept.shape
        tasks[t] = slice(start, start + n_alphas * width), width
        start += n_alphas * width
    # (A, C, D) -> (A C, D), tasks below each other
    coef = np.concatenate([m.coef.reshape(-1, m.coef.shape[-1]) for m in models.values()])
    intercept = np.concatenate([m.intercept.ravel() for m in models.values()])
    return _FoldModels(coef.T.astype(np.float32), intercept.astype(np.float32), tasks)


def _classes(sums: LevelSums, t: int) -> tuple[str, ...]:
    task = sums.sums.tasks[t]
    assert isinstance(task, ClassTask)
    return task.classes
