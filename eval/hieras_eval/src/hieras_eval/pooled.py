"""Pooled scores: one answer per clip for tasks that describe whole clips.

A clip's label is the mean of its labels, its prediction the mean of the merged predictions of its
labelled rows; for classes both are 1 from a threshold on. Clips without labels are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from behaviorzoo.metrics import binary_f1, mean_squared_error
from hieras_eval.benchmarks import Benchmark

NOT_POOLED = -1
"""What the authors' table says where a task is not sequence-level."""


@dataclass(frozen=True)
class PooledScore:
    """Score over clips.

    Attributes:
        value: F1 or mean squared error; NaN without clips.
        clips: Clips with labels.
        positive: Clips whose label is 1; 0 for value tasks.
    """

    value: float
    clips: int
    positive: int


def pooled_score(
    labels: np.ndarray,
    merged: np.ndarray,
    benchmark: Benchmark,
    *,
    classes: bool,
    threshold: float = 0.5,
    cut: Literal["aligned", "upstream"] = "aligned",
) -> PooledScore:
    """Score of one task over the public, then the private clips.

    Args:
        labels: (N,), NaN = not labelled.
        merged: Merged predictions (N,) at the test rows.
        benchmark: Clips and splits.
        classes: Classes (F1) or values (mean squared error).
        threshold: From which mean on a clip is of class 1.
        cut: ``aligned``: a clip's prediction is that of its own rows. ``upstream``: as published.
            There the predictions stand in the order of the rows, and pieces are cut off while
            walking the clips in the order of the split list, so that in shuffled lists a clip
            gets the predictions of others.
    """
    truths, predictions = [], []
    for names in (benchmark.public, benchmark.private):
        pieces = _labelled(labels, benchmark, names)
        in_row_order = np.sort(np.concatenate([np.empty(0, np.int64), *pieces]))
        in_row_order = in_row_order[np.diff(in_row_order, prepend=-1) > 0]
        taken = 0
        for rows in pieces:
            if not len(rows):
                continue
            truths.append(labels[rows].mean())
            if cut == "upstream":
                predictions.append(merged[in_row_order[taken : taken + len(rows)]].mean())
                taken += len(rows)
            else:
                predictions.append(merged[rows].mean())
    truth, predicted = np.array(truths), np.array(predictions)
    if not len(truth):
        return PooledScore(float("nan"), 0, 0)
    if not classes:
        return PooledScore(mean_squared_error(truth, predicted), len(truth), 0)
    positive = truth >= threshold
    score = float(binary_f1(positive, predicted >= threshold))
    return PooledScore(score, len(truth), int(np.count_nonzero(positive)))


def _labelled(labels: np.ndarray, benchmark: Benchmark, names: tuple[str, ...]) -> list[np.ndarray]:
    """Labelled rows of each clip."""
    rows = []
    for name in names:
        start, stop = benchmark.clips[name]
        rows.append(start + np.flatnonzero(~np.isnan(labels[start:stop])))
    return rows
