"""The pass over the test rows: predictions of all models, kept only as counts.

Scores of a portion of rows are one matrix product that stays in the cache; predictions become
bits, and hits are counted by population counts. Rows that are both public and private are counted
once.

Letters: A penalties, S seeds, C class tasks, V value tasks, n rows, P = 2 test parts (public,
private).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hieras_eval.fitting import Models, gathered, precision
from hieras_eval.truth import UNLABELLED, Progress, Truth

ANY, MAJORITY = -2, -1
"""Positions of the merged votes, after those of the seeds."""
_PORTION = 1024
# Scores of all models that are held at once: 1 MiB in float32, about the cache of one core.
_SCORES = 2**18
_WORD = 64


@dataclass(frozen=True, eq=False)
class Counts:
    """What the scores are made of.

    Attributes:
        frames: Labelled rows (P, K) of all tasks.
        positives: Rows of class 1 (P, C).
        predicted: Labelled rows predicted as 1 (P, A, S + 2, C): by each seed, by any seed, by
            the majority.
        hits: Rows of class 1 among them (P, A, S + 2, C).
        squares: Sums of squared errors (P, A, S + 1, V): of each seed, of the mean.
        merged: Sequence-level task -> vote (``any``, ``majority``, ``mean``) -> merged
            predictions at the reported penalty (N,); only test rows are filled.
    """

    frames: np.ndarray
    positives: np.ndarray
    predicted: np.ndarray
    hits: np.ndarray
    squares: np.ndarray
    merged: dict[int, dict[str, np.ndarray]]


def count(
    embeddings: np.ndarray, truth: Truth, models: Models, progress: Progress | None = None
) -> Counts:
    """Predict all test rows with all models.

    Args:
        embeddings: (N, D), finite.
        truth: Labels and sets of rows.
        models: What was fitted.
        progress: Told how many rows are done.
    """
    sets = [rows for rows in truth.sets if rows.parts]
    total, done = sum(rows.n_rows for rows in sets), 0
    dtype = precision(total)
    counts = _empty(truth, models)
    classes = _ClassCounter(truth, models, counts, dtype)
    values = _ValueCounter(truth, models, counts, dtype)
    for rows in sets:
        parts = list(rows.parts)
        for portion in rows.blocks(_PORTION):
            x = np.ones((sum(r.stop - r.start for r in portion), len(models.shift) + 1), dtype)
            x[:, :-1] = gathered(embeddings, portion)
            x[:, :-1] -= models.shift.astype(dtype)
            classes.add(x, portion, parts)
            values.add(x, portion, parts)
            done += len(x)
            if progress:
                progress("scoring", done, total)
    return counts


def _empty(truth: Truth, models: Models) -> Counts:
    n_penalties, n_seeds, n_tasks, _ = models.coef.shape
    n_classes, n_values = len(truth.class_tasks), len(truth.value_tasks)
    votes = {"class": ("any", "majority"), "value": ("mean",)}
    types = {"class": np.bool_, "value": np.float64}
    return Counts(
        frames=np.zeros((2, n_tasks), dtype=np.int64),
        positives=np.zeros((2, n_classes), dtype=np.int64),
        predicted=np.zeros((2, n_penalties, n_seeds + 2, n_classes), dtype=np.int64),
        hits=np.zeros((2, n_penalties, n_seeds + 2, n_classes), dtype=np.int64),
        squares=np.zeros((2, n_penalties, n_seeds + 1, n_values)),
        merged={
            # Memory that is never written is never taken: only the test rows count.
            k: {vote: np.zeros(truth.n_frames, types[task.kind]) for vote in votes[task.kind]}
            for k, task in enumerate(truth.tasks)
            if task.sequence_level
        },
    )


class _ClassCounter:
    """Counts hits of the class tasks."""

    def __init__(
        self, truth: Truth, models: Models, counts: Counts, dtype: type[np.floating]
    ) -> None:
        self._truth, self._counts = truth, counts
        self._tasks = truth.class_tasks
        weights = models.shifted(self._tasks).astype(dtype)  # (A, S, C, D + 1)
        self._shape = weights.shape[:3]
        self._weights = weights.reshape(-1, weights.shape[-1])
        self._step = max(_SCORES // max(len(self._weights), 1) // _WORD * _WORD, _WORD)
        n_penalties, n_seeds, n_classes = self._shape
        self._scores = np.empty((*self._shape, self._step), dtype)
        self._votes = np.zeros((n_penalties, n_seeds + 2, n_classes, self._step), dtype=bool)
        self._kept = [
            (c, counts.merged[k]) for c, k in enumerate(self._tasks) if k in counts.merged
        ]

    def add(self, x: np.ndarray, portion: Sequence[slice], parts: list[int]) -> None:
        """Predict rows x (n, D + 1) and compare them with the truth."""
        if not self._tasks:
            return
        codes = self._truth.codes_of(portion)
        positive, labelled = _bits(codes == 1), _bits(codes != UNLABELLED)
        counts = self._counts
        counts.frames[np.ix_(parts, self._tasks)] += _ones(labelled)
        counts.positives[parts] += _ones(positive)
        rows = _row_numbers(portion) if self._kept else np.empty(0, dtype=np.int64)
        for start in range(0, len(x), self._step):
            n = min(self._step, len(x) - start)
            bits = _bits(self._predict(x[start : start + n]))  # (A, S + 2, C, words)
            words = slice(start // _WORD, start // _WORD + bits.shape[-1])
            counts.hits[parts] += _ones(bits & positive[:, words])
            counts.predicted[parts] += _ones(bits & labelled[:, words])
            for c, merged in self._kept:
                here = rows[start : start + n]
                reported = self._votes[self._truth.benchmark.reported, :, c, :n]
                merged["any"][here] = reported[ANY]
                merged["majority"][here] = reported[MAJORITY]

    def _predict(self, x: np.ndarray) -> np.ndarray:
        """Votes (A, S + 2, C, n) of the seeds, of any seed, and of the majority."""
        n_seeds, n = self._shape[1], len(x)
        scores = self._scores.reshape(len(self._weights), -1)[:, :n]
        np.matmul(self._weights, x.T, out=scores)
        votes = self._votes[..., :n]
        of_seeds = votes[:, :n_seeds]
        np.greater(scores.reshape(*self._shape, n), 0.0, out=of_seeds)
        np.any(of_seeds, axis=1, out=votes[:, ANY])
        np.greater(2 * of_seeds.sum(axis=1, dtype=np.uint8), n_seeds, out=votes[:, MAJORITY])
        return votes


class _ValueCounter:
    """Sums squared errors of the value tasks."""

    def __init__(
        self, truth: Truth, models: Models, counts: Counts, dtype: type[np.floating]
    ) -> None:
        self._truth, self._counts = truth, counts
        self._tasks = truth.value_tasks
        self._weights = models.shifted(self._tasks).astype(dtype)  # (A, S, V, D + 1)

    def add(self, x: np.ndarray, portion: Sequence[slice], parts: list[int]) -> None:
        """Predict rows x (n, D + 1) and compare them with the truth."""
        counts, reported = self._counts, self._truth.benchmark.reported
        if not self._tasks:
            return
        truths = self._truth.values_of(portion)
        predicted = (self._weights @ x.T).astype(np.float64)  # (A, S, V, n)
        for v, (k, wanted) in enumerate(zip(self._tasks, truths, strict=True)):
            of_task = predicted[:, :, v]
            both = np.concatenate([of_task, of_task.mean(axis=1, keepdims=True)], axis=1)
            labelled = ~np.isnan(wanted)
            errors = np.where(labelled, both - np.where(labelled, wanted, 0.0), 0.0)
            counts.frames[parts, k] += np.count_nonzero(labelled)
            counts.squares[parts, :, :, v] += np.einsum("asn,asn->as", errors, errors)
            if k in counts.merged:
                counts.merged[k]["mean"][_row_numbers(portion)] = both[reported, -1]


def _bits(values: np.ndarray) -> np.ndarray:
    """Pack the last axis of an array of bool into words of 64 bits, filled up with zeros."""
    packed = np.packbits(values, axis=-1)
    missing = -packed.shape[-1] % 8
    if missing:
        packed = np.concatenate(
            [packed, np.zeros((*packed.shape[:-1], missing), dtype=np.uint8)], axis=-1
        )
    return packed.view(np.uint64)


def _ones(words: np.ndarray) -> np.ndarray:
    """Number of bits that are set along the last axis."""
    return np.bitwise_count(words).sum(axis=-1, dtype=np.int64)


def _row_numbers(portion: Sequence[slice]) -> np.ndarray:
    return np.concatenate([np.arange(rows.start, rows.stop) for rows in portion])
