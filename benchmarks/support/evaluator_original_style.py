"""The protocol with scikit-learn: one ``RidgeClassifier`` per task, seed and penalty."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from hieras_eval import Benchmark


def evaluate(benchmark: Benchmark, embeddings: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Scores of class tasks without missing labels, as the published evaluator computes them.

    Args:
        benchmark: Tasks in the order of the labels' rows.
        embeddings: (N, D) float32.
        labels: (K, N) of 0 and 1.
    """
    rows = {part: _rows(benchmark, names) for part, names in benchmark.splits.items()}
    fits = [
        _rows(
            benchmark,
            train_test_split(
                list(benchmark.train), test_size=benchmark.inner_test_size, random_state=seed
            )[0],
        )
        for seed in benchmark.seeds
    ]
    table = []
    for task, truth in zip(benchmark.tasks, labels, strict=True):
        scores = {"Task ID": task.name}
        for penalty in benchmark.penalties:
            models = [
                RidgeClassifier(alpha=penalty, class_weight="balanced").fit(
                    embeddings[fit], truth[fit]
                )
                for fit in fits
            ]
            votes = {
                part: np.stack([model.predict(embeddings[rows[part]]) for model in models])
                for part in ("privateTest", "publicTest")
            }
            both = np.concatenate(list(votes.values()), axis=1)
            truths = np.concatenate([truth[rows[part]] for part in votes])
            scores[f"Score Alpha {penalty}"] = _f1(truths, both.mean(axis=0) > 0)
            if penalty == benchmark.reported_penalty:
                scores["Private Score"] = scores[f"Score Alpha {penalty}"]
                public = votes["publicTest"].mean(axis=0) > 0
                scores["Public Score"] = _f1(truth[rows["publicTest"]], public)
                scores["No Ensemble Score"] = np.mean([_f1(truths, vote) for vote in both])
        table.append(scores)
    return pd.DataFrame(table)


def _rows(benchmark: Benchmark, names: list[str] | tuple[str, ...]) -> np.ndarray:
    """Mask (N,) of the rows of some clips."""
    mask = np.zeros(max(stop for _, stop in benchmark.clips.values()), dtype=bool)
    for name in names:
        mask[slice(*benchmark.clips[name])] = True
    return mask


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(truth, predicted, zero_division=0))
