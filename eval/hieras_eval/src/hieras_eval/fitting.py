"""The models: one linear function per penalty, seed and task, from one pass over the rows.

Minimises sum_i w_i (t_i - x_i . b - c)^2 + a |b|^2 over (b, c). Classes: targets t = +1 and -1,
weights w = n / (2 n_class), predicted 1 where x . b + c > 0. Values: t = y, w = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from behaviorzoo.probes import ClassTask, ProbeSums, ValueTask, fit_binary, fit_values
from hieras_eval.truth import Progress, Truth

_PORTION = 1024  # rows; more of them where the sums to add to are large
# Up to so many rows the products are float64: it costs nothing there, and small samples need it.
EXACT_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class Models:
    """Linear functions of the embeddings.

    Attributes:
        coef: (A, S, K, D) for A penalties, S seeds, K tasks, D features; zero where all rows of
            the fit had one class.
        intercept: (A, S, K); +1 or -1 where all rows had one class.
        rows: Labelled rows of each fit (S, K). Without any the model is zero and means nothing.
        positives: Rows of class 1 among them (S, K); 0 for value tasks.
        shift: A vector near the mean of the features (D,), to take off before products in
            float32.
    """

    coef: np.ndarray
    intercept: np.ndarray
    rows: np.ndarray
    positives: np.ndarray
    shift: np.ndarray

    @property
    def trained(self) -> np.ndarray:
        """Tasks that every seed could fit (K,)."""
        return np.all(self.rows > 0, axis=0)

    def shifted(self, tasks: Sequence[int]) -> np.ndarray:
        """Functions of (x - shift, 1) for some of the tasks (A, S, len(tasks), D + 1)."""
        coef = self.coef[:, :, tasks]
        intercept = self.intercept[:, :, tasks] + coef @ self.shift
        return np.concatenate([coef, intercept[..., None]], axis=-1)


def gathered(embeddings: np.ndarray, portion: Sequence[slice]) -> np.ndarray:
    """Rows (n, D) of a portion: in memory, aligned, in native byte order."""
    length = sum(rows.stop - rows.start for rows in portion)
    block = np.empty((length, embeddings.shape[1]), dtype=np.float32)
    filled = 0
    for rows in portion:
        size = rows.stop - rows.start
        block[filled : filled + size] = embeddings[rows]
        filled += size
    return block


def precision(n_rows: int) -> type[np.float32] | type[np.float64]:
    """Type of the products over so many rows; sums over portions are float64 in any case."""
    return np.float64 if n_rows <= EXACT_ROWS else np.float32


def fit(embeddings: np.ndarray, truth: Truth, progress: Progress | None = None) -> Models:
    """Fit every task for every seed and penalty.

    Args:
        embeddings: (N, D), finite.
        truth: Labels and sets of rows.
        progress: Told how many rows are read.
    """
    sums = _collect(embeddings, truth, progress)
    benchmark, width = truth.benchmark, embeddings.shape[1]
    shape = (len(benchmark.penalties), len(benchmark.seeds), len(truth.tasks))
    coef, intercept = np.zeros((*shape, width)), np.zeros(shape)
    rows, positives = np.zeros(shape[1:], dtype=np.int64), np.zeros(shape[1:], dtype=np.int64)
    options = {"alphas": benchmark.penalties, "shift": sums.shift_of()}
    for s in range(shape[1]):
        for k, task in enumerate(truth.tasks):
            if task.kind == "value":
                (gram,), (moments,), _ = sums.values(k, [s])
                rows[s, k] = round(gram[-1, -1])
                if rows[s, k]:
                    models = fit_values(gram, moments, **options)
                    coef[:, s, k], intercept[:, s, k] = models.coef[:, 0], models.intercept[:, 0]
                continue
            negative, positive = sums.classes(k, [s])[0]
            positives[s, k] = round(positive[-1, -1])
            rows[s, k] = positives[s, k] + round(negative[-1, -1])
            if 0 < positives[s, k] < rows[s, k]:
                models = fit_binary(negative, positive, **options)
                coef[:, s, k], intercept[:, s, k] = models.coef[:, 0], models.intercept[:, 0]
            elif rows[s, k]:
                intercept[:, s, k] = 1.0 if positives[s, k] else -1.0
    return Models(coef, intercept, rows, positives, sums.shift_of())


def _collect(embeddings: np.ndarray, truth: Truth, progress: Progress | None) -> ProbeSums:
    """Sums of every seed: those of all sets of rows that it fits on."""
    tasks = [
        ClassTask(task.name) if task.kind == "class" else ValueTask(task.name)
        for task in truth.tasks
    ]
    sets = [rows for rows in truth.sets if rows.seeds]
    total = sum(rows.n_rows for rows in sets)
    width, dtype = embeddings.shape[1], precision(total)
    shift = gathered(embeddings, next(sets[0].blocks(_PORTION))).mean(axis=0, dtype=np.float64)
    of_seeds = ProbeSums(width, tasks, len(truth.benchmark.seeds), shift=shift, dtype=dtype)
    portion_rows = max(_PORTION, 16 * width)
    done = 0
    for rows in sets:
        of_set = ProbeSums(width, tasks, 1, shift=shift, dtype=dtype)
        for portion in rows.blocks(portion_rows):
            block = gathered(embeddings, portion)
            of_set.add(block, truth.targets_of(portion), 0)
            done += len(block)
            if progress:
                progress("fitting", done, total)
        of_seeds.include(of_set, rows.seeds)
    return of_seeds
