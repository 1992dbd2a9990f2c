"""The score table of a probe, and the baselines that stand beside every score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo import metrics
from behaviorzoo.probes.sums import ClassTask, ValueTask

COLUMNS = (
    "level",
    "task",
    "label",
    "metric",
    "value",
    "baseline",
    "baseline_value",
    "n_train",
    "n_test",
)
GUESS = "guess"
_GUESSES = ("chance", "majority", "training mean")
ONE_VS_REST = "F1 (one-vs-rest)"
MEAN_ONE_VS_REST = "mean F1 (one-vs-rest)"


class ClassTally:
    """Counts of one task and level over the test recordings."""

    def __init__(self, task: ClassTask) -> None:
        n = len(task.classes)
        self.task = task
        self.confusion = np.zeros((n, n), dtype=np.int64)
        # Rows: hits, predicted, actual positives of each one-vs-rest probe.
        self.binary = np.zeros((3, n), dtype=np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray, positive: np.ndarray) -> None:
        """Count test frames.

        Args:
            truth: Codes (n,), -1 = unlabelled.
            predicted: Codes (n,).
            positive: One-vs-rest predictions (n, C) bool.
        """
        n_classes = len(self.task.classes)
        self.confusion += metrics.confusion_matrix(truth, predicted, n_classes)
        labelled = truth >= 0
        is_class = truth[labelled, None] == np.arange(n_classes)
        positive = positive[labelled]
        self.binary += np.stack(
            [(is_class & positive).sum(axis=0), positive.sum(axis=0), is_class.sum(axis=0)]
        )


class Chance:
    """What a guess reaches that knows the class shares of the training, but not the data.

    F1: expected value of a stratified random guess (:func:`metrics.chance_f1`). Accuracy: the
    most frequent class of the training. Balanced accuracy: one over the number of true classes.
    """

    def __init__(self, task: ClassTask) -> None:
        n = len(task.classes)
        self.task = task
        self.n_train = np.zeros(n, dtype=np.int64)
        self.counts = np.zeros((3, n))
        self.majority_hits = 0

    def add(self, truth: np.ndarray, train_counts: np.ndarray) -> None:
        """Count test frames (n,) of a round whose training had ``train_counts`` (C,)."""
        actual = np.bincount(truth[truth >= 0], minlength=len(self.task.classes))
        share = train_counts / max(train_counts.sum(), 1)
        self.counts += np.stack([actual * share, actual.sum() * share, actual])
        self.majority_hits += int(actual[train_counts.argmax()])

    @property
    def f1(self) -> np.ndarray:
        """Expected F1 per class (C,)."""
        return metrics.f1_from_counts(*self.counts)

    @property
    def accuracy(self) -> float:
        """Accuracy of the majority class."""
        return self.majority_hits / max(self.counts[2].sum(), 1)


def class_rows(
    level: str, tally: ClassTally, chance: Chance, background: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows of the score table for one level and task.

    Args:
        level: Name of the level.
        tally: Counts.
        chance: Baseline.
        background: Classes left out of the mean over one-vs-rest probes, ``label`` or
            ``task:label``.
    """
    task = tally.task
    scores = metrics.class_scores(tally.confusion)
    one_vs_rest = metrics.f1_from_counts(*tally.binary)
    actual = tally.confusion.sum(axis=1)
    true = actual > 0
    named = [name in background or f"{task.name}:{name}" in background for name in task.classes]
    counted = true & ~np.array(named)
    every_train, every_test = int(chance.n_train.sum()), int(actual.sum())

    def row(label: str, metric: str, value: float, kind: str, baseline: float, *n: int) -> dict:
        values = (level, task.name, label, metric, value, kind, baseline, *n)
        return dict(zip(COLUMNS, values, strict=True))

    def mean(values: np.ndarray, chosen: np.ndarray) -> float:
        return float(values[chosen].mean()) if chosen.any() else 0.0

    overall = [
        ("accuracy", metrics.accuracy(tally.confusion), "majority", chance.accuracy),
        (
            "balanced accuracy",
            metrics.balanced_accuracy(tally.confusion),
            "chance",
            1.0 / max(int(true.sum()), 1),
        ),
        ("macro F1", metrics.macro_f1(tally.confusion), "chance", mean(chance.f1, true)),
        (
            MEAN_ONE_VS_REST,
            mean(one_vs_rest, counted),
            "chance",
            mean(chance.f1, counted),
        ),
    ]
    rows = [row("", *entry, every_train, every_test) for entry in overall]
    for metric, values in (("F1", scores.f1), (ONE_VS_REST, one_vs_rest)):
        rows += [
            row(
                name,
                metric,
                float(values[c]),
                "chance",
                float(chance.f1[c]),
                int(chance.n_train[c]),
                int(actual[c]),
            )
            for c, name in enumerate(task.classes)
        ]
    return rows


def value_rows(
    level: str,
    task: ValueTask,
    truth: np.ndarray,
    predicted: np.ndarray,
    train_mean: np.ndarray,
    n_train: int,
) -> list[dict[str, Any]]:
    """Rows of the score table for one level and regression task.

    Args:
        level: Name of the level.
        task: The task.
        truth: (n,), NaN = unlabelled.
        predicted: (n,).
        train_mean: Mean of the training frames of each test frame's round (n,), the baseline.
        n_train: Number of labelled training frames.
    """
    labelled = ~np.isnan(truth)
    truth, predicted, train_mean = truth[labelled], predicted[labelled], train_mean[labelled]
    if not len(truth):
        return []
    rows = []
    for name, score in (("MSE", metrics.mean_squared_error), ("R2", metrics.r2_score)):
        found, baseline = score(truth, predicted), score(truth, train_mean)
        n = (n_train, len(truth))
        values = (level, task.name, "", name, found, "training mean", baseline, *n)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def score_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns of ``scores.csv``."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def summary(scores: pd.DataFrame) -> str:
    """The overall scores as text: a line per task and level, baselines at the top of each task."""
    lines: list[str] = []
    overall = [row for row in scores.to_dict("records") if row["label"] == ""]
    for task in dict.fromkeys(row["task"] for row in overall):
        rows = [row for row in overall if row["task"] == task]
        names = list(dict.fromkeys(row["metric"] for row in rows))
        values: dict[str, dict[str, float]] = {}
        for row in rows:
            kind = GUESS if row["baseline"] in _GUESSES else row["baseline"]
            values.setdefault(kind, {})[row["metric"]] = row["baseline_value"]
        for row in rows:
            values.setdefault(row["level"], {})[row["metric"]] = row["value"]
        width = max(len(name) for name in [task, *values])
        lines.append(f"{task:<{width}}  " + "  ".join(names))
        for level, found in values.items():
            cells = (f"{found.get(metric, np.nan):>{len(metric)}.3f}" for metric in names)
            lines.append(f"{level:<{width}}  " + "  ".join(cells))
        lines.append("")
    return "\n".join(lines)
