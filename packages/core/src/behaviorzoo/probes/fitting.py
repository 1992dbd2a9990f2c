"""Models of every level, task and round of a split, from one pass over the training recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from behaviorzoo.probes import ridge
from behaviorzoo.probes.inputs import Features, Targets
from behaviorzoo.probes.logistic import choose_logistic_penalty, fit_logistic
from behaviorzoo.probes.settings import LOGISTIC_ALPHAS, ProbeSettings
from behaviorzoo.probes.splits import Split
from behaviorzoo.probes.sums import ClassTask, ProbeSums


@dataclass(frozen=True)
class TaskModel:
    """Linear functions of one task: coefficients (K, D) and intercepts (K,), and their penalties.

    For classes: C multi-class values, then C one-vs-rest values. For a regression: one value.
    """

    coef: np.ndarray
    intercept: np.ndarray
    penalties: dict[str, Any]


def fit_rounds(
    kind: Features, targets: Targets, split: Split, settings: ProbeSettings
) -> Iterator[dict[str, list[TaskModel]]]:
    """Models of every round: level -> one model per task."""
    collected = _collect(kind, targets, split, settings)
    samples = _sample(kind, targets, split, settings) if settings.logistic else {}
    for train, _ in split.rounds:
        fitted: dict[str, list[TaskModel]] = {}
        for level, columns in kind.columns.items():
            sums, inside = collected[level]
            fitted[level] = [
                _fit_classes(sums, t, train, inside, samples, columns, settings)
                if isinstance(task, ClassTask)
                else _fit_value(sums, t, train, inside, settings)
                for t, task in enumerate(targets.tasks)
            ]
        yield fitted


def _collect(
    kind: Features, targets: Targets, split: Split, settings: ProbeSettings
) -> dict[str, tuple[ProbeSums, np.ndarray]]:
    """One pass over the training recordings: level -> sums, and the level's columns in them.

    Where all levels are probed together, their sums contain those of each level.
    """
    everything = {"": np.arange(kind.width)}
    blocks = everything if kind.has_combined else kind.columns
    sums = {
        name: ProbeSums(len(columns), targets.tasks, len(split.cells))
        for name, columns in blocks.items()
    }
    trained = sorted({cell for train, _ in split.rounds for cell in train})
    names = [(cell, name) for cell in trained for name in split.cells[cell]]
    for cell, name in tqdm(names, desc="collect", unit="recording", disable=None, leave=False):
        features = kind.read(name, settings.every)
        values = [target[:: settings.every] for target in targets.values[name]]
        for block, columns in blocks.items():
            whole = len(columns) == kind.width
            sums[block].add(features if whole else features[:, columns], values, cell)
    if kind.has_combined:
        return {level: (sums[""], columns) for level, columns in kind.columns.items()}
    return {
        level: (sums[level], np.arange(len(columns))) for level, columns in kind.columns.items()
    }


def _sample(
    kind: Features, targets: Targets, split: Split, settings: ProbeSettings
) -> dict[int, tuple[np.ndarray, list[np.ndarray]]]:
    """Training frames in memory, for the estimator that needs them: cell -> features, targets."""
    trained = sorted({cell for train, _ in split.rounds for cell in train})
    samples = {}
    for cell in trained:
        names = split.cells[cell]
        features = np.concatenate([kind.read(name, settings.every) for name in names])
        values = [
            np.concatenate([targets.values[name][t][:: settings.every] for name in names])
            for t in range(len(targets.tasks))
        ]
        samples[cell] = (features, values)
    return samples


def _fit_classes(
    sums: ProbeSums,
    t: int,
    train: Sequence[int],
    inside: np.ndarray,
    samples: dict[int, tuple[np.ndarray, list[np.ndarray]]],
    columns: np.ndarray,
    settings: ProbeSettings,
) -> TaskModel:
    folds = sums.classes(t, train, inside)
    n_classes, width = folds.shape[1], len(inside)
    if not folds[:, :, -1, -1].any():
        # Nothing to learn from: never right, never an obstacle to the other tasks.
        nothing = np.full(2 * n_classes, -1.0)
        return TaskModel(np.zeros((2 * n_classes, width)), nothing, {"untrained": True})
    alphas, shift = settings.ridge_alphas, sums.shift_of(inside)
    whole = folds.sum(axis=0)
    options: dict[str, Any] = {"standardise": settings.standardise}
    best = ridge.choose_penalties(folds, alphas, one_vs_rest=True, **options)
    binary = ridge.fit_one_vs_rest(whole, alphas, shift=shift, **options).at(best)
    penalties: dict[str, Any] = {"one-vs-rest": [alphas[i] for i in best]}
    if settings.logistic:
        multi, penalties["logistic"] = _fit_logistic(
            t, train, samples, columns, n_classes, settings
        )
    else:
        options["balanced"] = settings.balanced
        chosen = ridge.choose_penalties(folds, alphas, **options)
        multi = ridge.fit_classes(whole, alphas, shift=shift, **options).at(chosen)
        penalties["multi-class"] = alphas[chosen[0]]
    return TaskModel(
        np.concatenate([multi[0], binary[0]]), np.concatenate([multi[1], binary[1]]), penalties
    )


def _fit_logistic(
    t: int,
    train: Sequence[int],
    samples: dict[int, tuple[np.ndarray, list[np.ndarray]]],
    columns: np.ndarray,
    n_classes: int,
    settings: ProbeSettings,
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    features = [samples[cell][0][:, columns] for cell in train]
    codes = [samples[cell][1][t] for cell in train]
    alpha = choose_logistic_penalty(
        features, codes, n_classes, settings.alphas or LOGISTIC_ALPHAS, balanced=settings.balanced
    )
    joined = np.concatenate(features), np.concatenate(codes)
    return fit_logistic(*joined, n_classes, alpha=alpha, balanced=settings.balanced), alpha


def _fit_value(
    sums: ProbeSums, t: int, train: Sequence[int], inside: np.ndarray, settings: ProbeSettings
) -> TaskModel:
    grams, moments, squares = sums.values(t, train, inside)
    if not grams[:, -1, -1].any():
        return TaskModel(np.zeros((1, len(inside))), np.zeros(1), {"untrained": True})
    alphas = settings.ridge_alphas
    best = ridge.choose_value_penalty(
        grams, moments, squares, alphas, standardise=settings.standardise
    )
    models = ridge.fit_values(
        grams.sum(axis=0),
        moments.sum(axis=0),
        alphas,
        standardise=settings.standardise,
        shift=sums.shift_of(inside),
    )
    return TaskModel(*models.at(best), {"ridge": alphas[best]})
