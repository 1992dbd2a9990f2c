"""Models of every level, task and round of a split.

One pass over the training recordings collects the sums; where penalties are chosen by their score,
a second one per round scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from behaviorzoo.probes import ridge
from behaviorzoo.probes.inputs import Features, Targets
from behaviorzoo.probes.logistic import choose_logistic_penalty, fit_logistic
from behaviorzoo.probes.selection import (
    Frames,
    LeftOutScores,
    choose_multi_class,
    choose_one_vs_rest,
    score_left_out,
)
from behaviorzoo.probes.settings import LOGISTIC_ALPHAS, ProbeSettings
from behaviorzoo.probes.splits import Split
from behaviorzoo.probes.sums import ClassTask, LevelSums, ProbeSums


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
        scores = _score(collected, kind, targets, split, train, settings)
        fitted: dict[str, list[TaskModel]] = {}
        for level, sums in collected.items():
            fitted[level] = [
                _fit_classes(sums, t, train, scores.get((level, t)), samples, settings)
                if isinstance(task, ClassTask)
                else _fit_value(sums, t, train, settings)
                for t, task in enumerate(targets.tasks)
            ]
        yield fitted


def _collect(
    kind: Features, targets: Targets, split: Split, settings: ProbeSettings
) -> dict[str, LevelSums]:
    """One pass over the training recordings: level -> sums.

    Where all levels are probed together, their sums contain those of each level.
    """
    everything = {"": np.arange(kind.width)}
    blocks = everything if kind.has_combined else kind.columns
    sums = {
        name: ProbeSums(len(columns), targets.tasks, len(split.cells))
        for name, columns in blocks.items()
    }
    trained = sorted({cell for train, _ in split.rounds for cell in train})
    for cell, features, values in _frames(kind, targets, split, trained, settings, "collect"):
        for block, columns in blocks.items():
            whole = len(columns) == kind.width
            sums[block].add(features if whole else features[:, columns], values, cell)
    if kind.has_combined:
        return {
            level: LevelSums(sums[""], columns, columns) for level, columns in kind.columns.items()
        }
    return {
        level: LevelSums(sums[level], np.arange(len(columns)), columns)
        for level, columns in kind.columns.items()
    }


def _score(
    collected: dict[str, LevelSums],
    kind: Features,
    targets: Targets,
    split: Split,
    train: Sequence[int],
    settings: ProbeSettings,
) -> dict[tuple[str, int], LeftOutScores]:
    """Scores of all penalties, from one more pass; empty where the score does not choose."""
    alphas = settings.ridge_alphas
    classified = any(isinstance(task, ClassTask) for task in targets.tasks)
    if settings.select != "score" or len(alphas) == 1 or not classified:
        return {}
    return score_left_out(
        collected,
        _frames(kind, targets, split, train, settings, "choose penalties"),
        train,
        alphas,
        multi_class=not settings.logistic,
        balanced=settings.balanced,
        standardise=settings.standardise,
    )


def _frames(
    kind: Features,
    targets: Targets,
    split: Split,
    cells: Sequence[int],
    settings: ProbeSettings,
    title: str,
) -> Iterator[Frames]:
    """The frames that train, one recording at a time."""
    names = [(cell, name) for cell in cells for name in split.cells[cell]]
    for cell, name in tqdm(names, desc=title, unit="recording", disable=None, leave=False):
        values = [target[:: settings.every] for target in targets.values[name]]
        yield Frames(cell, kind.read(name, settings.every), values)


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
    sums: LevelSums,
    t: int,
    train: Sequence[int],
    scores: LeftOutScores | None,
    samples: dict[int, tuple[np.ndarray, list[np.ndarray]]],
    settings: ProbeSettings,
) -> TaskModel:
    folds = sums.classes(t, train)
    n_classes, width = folds.shape[1], len(sums.inside)
    if not folds[:, :, -1, -1].any():
        # Nothing to learn from: never right, never an obstacle to the other tasks.
        nothing = np.full(2 * n_classes, -1.0)
        return TaskModel(np.zeros((2 * n_classes, width)), nothing, {"untrained": True})
    alphas, whole = settings.ridge_alphas, folds.sum(axis=0)
    options: dict[str, Any] = {"standardise": settings.standardise}
    best, criteria = choose_one_vs_rest(scores, folds, alphas, **options)
    binary = ridge.fit_one_vs_rest(whole, alphas, shift=sums.shift, **options).at(best)
    penalties: dict[str, Any] = {"one-vs-rest": [alphas[i] for i in best]}
    chosen_by: dict[str, Any] = {"one-vs-rest": criteria}
    if settings.logistic:
        multi, penalties["logistic"] = _fit_logistic(
            t, train, samples, sums.columns, n_classes, settings
        )
    else:
        options["balanced"] = settings.balanced
        chosen, chosen_by["multi-class"] = choose_multi_class(scores, folds, alphas, **options)
        multi = ridge.fit_classes(whole, alphas, shift=sums.shift, **options).at(chosen)
        penalties["multi-class"] = alphas[chosen]
    if len(alphas) > 1:
        penalties["chosen by"] = chosen_by
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


def _fit_value(sums: LevelSums, t: int, train: Sequence[int], settings: ProbeSettings) -> TaskModel:
    grams, moments, squares = sums.values(t, train)
    if not grams[:, -1, -1].any():
        return TaskModel(np.zeros((1, len(sums.inside))), np.zeros(1), {"untrained": True})
    alphas = settings.ridge_alphas
    best = ridge.choose_value_penalty(
        grams, moments, squares, alphas, standardise=settings.standardise
    )
    models = ridge.fit_values(
        grams.sum(axis=0),
        moments.sum(axis=0),
        alphas,
        standardise=settings.standardise,
        shift=sums.shift,
    )
    return TaskModel(*models.at(best), {"ridge": alphas[best]})
