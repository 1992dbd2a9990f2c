"""All scores of a set of predictions at once, with the names of the classes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path
from uas_swin.compat import check_compat
from uas_swin.metrics.accuracy import (
    macro_top_k_accuracy,
    mean_class_accuracy,
    micro_macro_accuracy,
    micro_top_k_accuracy,
    top_k_accuracy,
)
from uas_swin.metrics.precision import mean_average_precision, mmit_mean_average_precision

METRICS = (
    "top_k_accuracy",
    "mean_class_accuracy",
    "mean_average_precision",
    "mmit_mean_average_precision",
    "micro_macro_accuracy",
    "micro_top_k_accuracy",
    "macro_top_k_accuracy",
)
"""Names as ``--eval`` takes them."""
SINGLE_LABEL = ("top_k_accuracy", "mean_class_accuracy", "micro_macro_accuracy")
DEFAULT_METRICS = ("top_k_accuracy", "mean_class_accuracy")


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        scores: Name -> value, such as ``top1``, ``mean1``, ``mean_average_precision``.
        class_names: (C,).
        class_counts: Samples of each class (C,).
        class_recall: Share of the samples of each class that is predicted right (C,); NaN without
            samples. In a multi-label task: where the class is the one with the largest score.
        confusion: (C, C) counts, rows are the truth; None in a multi-label task.
    """

    scores: dict[str, float]
    class_names: list[str]
    class_counts: NDArray[np.int64]
    class_recall: NDArray[np.float64]
    confusion: NDArray[np.int64] | None

    def table(self) -> str:
        """Classes with their counts and recall, and the scores, as text."""
        width = max(len("class"), *(len(name) for name in self.class_names))
        lines = [f"{'class':<{width}}  samples  recall"]
        for name, count, recall in zip(
            self.class_names, self.class_counts, self.class_recall, strict=True
        ):
            shown = "     -" if math.isnan(recall) else f"{recall:6.3f}"
            lines.append(f"{name:<{width}}  {count:7d}  {shown}")
        return "\n".join([*lines, *(f"{name}: {value:.4f}" for name, value in self.scores.items())])

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; NaN becomes None."""
        return {
            "scores": {name: _plain(value) for name, value in self.scores.items()},
            "classes": self.class_names,
            "class_counts": self.class_counts.tolist(),
            "class_recall": [_plain(value) for value in self.class_recall.tolist()],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }

    def write(self, folder: str | Path, name: str = "evaluation") -> list[Path]:
        """Write ``NAME.json`` and, in a single-label task, ``NAME_confusion.csv`` with names.

        Returns:
            The files.

        Raises:
            UserError: They cannot be written.
        """
        files = [Path(folder) / f"{name}.json"]
        with atomic_path(files[0]) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        if self.confusion is not None:
            files.append(Path(folder) / f"{name}_confusion.csv")
            with atomic_path(files[1]) as temporary, temporary.open("w", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["true \\ predicted", *self.class_names, "samples"])
                for title, row in zip(self.class_names, self.confusion.tolist(), strict=True):
                    rows.writerow([title, *row, sum(row)])
        return files


def evaluate(
    scores: NDArray,
    labels: Any,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    topk: Sequence[int] = (1, 5),
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    compat: str = "upstream",
) -> Evaluation:
    """Compare scores with the truth.

    Args:
        scores: (n, C).
        labels: Class ids (n,), or (n, C) with 1 where a class is true.
        metrics: Some of :data:`METRICS`.
        topk: The k of ``top_k``, ``micro_top_k`` and ``macro_top_k``.
        class_names: Names (C,); the ids by default.
        num_classes: As the data set of the original has it: with ``compat="upstream"`` the metrics
            on label vectors fail without it, as there.
        compat: ``upstream``, whose numbers compare with published ones, or ``corrected``; see the
            functions.

    Raises:
        UserError: An unknown metric, one that does not fit the labels or (``upstream``) that always
            fails, no sample, scores that are NaN, or shapes that do not fit.
    """
    check_compat(compat)
    scores = np.asarray(scores)
    ids, truth = _both_forms(scores, labels)
    names = _names(class_names, scores.shape[1])
    check_metrics_fit(metrics, ids is None, num_classes, compat)
    values: dict[str, float] = {}
    for metric in metrics:
        values |= _one(metric, scores, ids, truth, tuple(topk), compat)
    top = np.zeros(scores.shape, dtype=bool)
    top[np.arange(len(scores)), scores.argmax(axis=1)] = True
    counts = truth.sum(axis=0).astype(np.int64)
    with np.errstate(invalid="ignore"):
        recall = (top & truth).sum(axis=0) / np.where(counts > 0, counts, np.nan)
    confusion = None
    if ids is not None:
        pairs = ids * scores.shape[1] + scores.argmax(axis=1)
        confusion = np.bincount(pairs, minlength=scores.shape[1] ** 2)
        confusion = confusion.reshape(scores.shape[1], -1)
    return Evaluation(values, names, counts, recall, confusion)


def _one(
    metric: str,
    scores: NDArray,
    ids: NDArray[np.int64] | None,
    truth: NDArray[np.bool_],
    topk: tuple[int, ...],
    compat: str,
) -> dict[str, float]:
    """Values of one metric; names as mmaction2's where it has them."""
    if metric == "mean_average_precision":
        return {metric: mean_average_precision(scores, truth)}
    if metric == "mmit_mean_average_precision":
        return {metric: mmit_mean_average_precision(scores, truth, compat)}
    if metric == "micro_top_k_accuracy":
        ks = (1,) if compat == "upstream" else topk
        return {f"micro_top{k}": micro_top_k_accuracy(scores, truth, k, compat) for k in ks}
    if metric == "macro_top_k_accuracy":
        return {f"macro_top{k}": macro_top_k_accuracy(scores, truth, k) for k in topk}
    assert ids is not None  # refused before
    if metric == "top_k_accuracy":
        return {f"top{k}": top_k_accuracy(scores, ids, k, compat) for k in topk}
    if metric == "mean_class_accuracy":
        return {"mean1": mean_class_accuracy(scores, ids, compat)}
    micro, macro = micro_macro_accuracy(scores, ids, compat)
    return {"micro": micro, "macro": macro}


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse an unknown metric.

    Raises:
        UserError: With the nearest name.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"no metric {metric!r}; {suggest(metric, METRICS)}")


def check_metrics_fit(
    metrics: Sequence[str], multi_label: bool, num_classes: int | None, compat: str
) -> None:
    """Refuse metrics that cannot be computed, before any score is.

    Args:
        metrics: Some of :data:`METRICS`.
        multi_label: Samples may have several classes.
        num_classes: See :func:`evaluate`.
        compat: See :func:`evaluate`.

    Raises:
        UserError: An unknown metric, or one that does not fit.
    """
    check_metrics(metrics)
    for metric in metrics:
        if metric in SINGLE_LABEL and multi_label:
            others = ", ".join(name for name in METRICS if name not in SINGLE_LABEL)
            raise UserError(
                f"{metric}: needs one class per sample; these labels have several: take {others}"
            )
        if compat == "upstream" and metric == "macro_top_k_accuracy":
            raise UserError(f"{metric} always fails in the original; use compat=corrected")
        if compat == "upstream" and metric not in SINGLE_LABEL and num_classes is None:
            raise UserError(
                f"{metric}: the original needs num_classes of the data set; set it, or use "
                "compat=corrected"
            )


def _both_forms(scores: NDArray, labels: Any) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]]:
    """Labels as ids (None where samples have several) and as truth (n, C)."""
    labels = np.asarray(labels)
    if scores.ndim != 2 or len(scores) == 0:
        raise UserError(f"scores of shape {scores.shape}: nothing to evaluate; check the list")
    if n_undefined := int(np.isnan(scores).any(axis=1).sum()):
        raise UserError(
            f"the scores of {n_undefined} of {len(scores)} samples are not numbers (NaN): the "
            "training has diverged, or the checkpoint is damaged"
        )
    if len(labels) != len(scores) or labels.shape not in ((len(scores),), scores.shape):
        raise UserError(
            f"labels of shape {labels.shape} do not fit scores of {scores.shape}: one label, or "
            "one vector of the classes, per sample"
        )
    if labels.ndim == 2:
        return None, labels > 0
    ids = labels.astype(np.int64)
    if ids.min() < 0 or ids.max() >= scores.shape[1]:
        wrong = ids[(ids < 0) | (ids >= scores.shape[1])][0]
        raise UserError(f"label {wrong} is out of range: the network has {scores.shape[1]} classes")
    return ids, np.eye(scores.shape[1], dtype=bool)[ids]


def _names(names: Sequence[str] | None, n_classes: int) -> list[str]:
    if names is None:
        return [str(number) for number in range(n_classes)]
    if len(names) != n_classes:
        raise UserError(f"{len(names)} class names, but the network has {n_classes} classes")
    return [str(name) for name in names]


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
