"""The labels of a benchmark's tasks, read once for any number of submissions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.mabe import release_pages
from hieras_eval.benchmarks import Benchmark, Task
from hieras_eval.label_files import LabelFile
from hieras_eval.row_sets import RowSet, row_sets

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told a stage (``reading``, ``fitting``, ``scoring``), how much is done, and of how much."""

UNLABELLED = -1
_CHUNK = 65_536
_MOST_VALUES = 4


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels in the form that is fitted and counted.

    Attributes:
        benchmark: Whose tasks.
        labels: The file they come from.
        sets: Rows by the part they play.
        codes: Labels of the class tasks (C, N) int8: 0, 1, or -1 = unlabelled. In the order of
            ``class_tasks``.
        values: Labels of the value tasks, each (N,) float64 with NaN = unlabelled.
    """

    benchmark: Benchmark
    labels: LabelFile
    sets: list[RowSet]
    codes: np.ndarray
    values: list[np.ndarray]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks, each once; the order of models and counts."""
        return self.benchmark.unique_tasks

    @property
    def class_tasks(self) -> list[int]:
        """Positions of the tasks with classes among ``tasks``."""
        return [k for k, task in enumerate(self.tasks) if task.kind == "class"]

    @property
    def value_tasks(self) -> list[int]:
        """Positions of the tasks with numbers among ``tasks``."""
        return [k for k, task in enumerate(self.tasks) if task.kind == "value"]

    @property
    def n_frames(self) -> int:
        """Frames in the labels (N)."""
        return self.labels.values.shape[1]

    def codes_of(self, portion: Sequence[slice]) -> np.ndarray:
        """Codes (C, n) of a portion of the rows."""
        return np.concatenate([self.codes[:, rows] for rows in portion], axis=1)

    def values_of(self, portion: Sequence[slice]) -> list[np.ndarray]:
        """Values (n,) of each value task."""
        return [np.concatenate([values[rows] for rows in portion]) for values in self.values]

    def targets_of(self, portion: Sequence[slice]) -> list[np.ndarray]:
        """Codes or values (n,) of each task."""
        targets: dict[int, np.ndarray] = dict(
            zip(self.class_tasks, self.codes_of(portion), strict=True)
        )
        targets.update(zip(self.value_tasks, self.values_of(portion), strict=True))
        return [targets[k] for k in range(len(targets))]


def read_truth(benchmark: Benchmark, labels: LabelFile, progress: Progress | None = None) -> Truth:
    """Read and check the labels of all tasks.

    Only rows that are fitted or tested are checked: outside the clips anything may stand.

    Args:
        benchmark: Tasks and clips.
        labels: The label file.
        progress: Told how many tasks are read.

    Raises:
        UserError: A task is not in the vocabulary; the labels end before the last clip; a class
            task has labels other than 0 and 1, or a value task has infinite ones.
    """
    n_frames = labels.values.shape[1]
    last, clip = max((stop, clip) for clip, (_, stop) in benchmark.clips.items())
    if last > n_frames:
        raise UserError(
            f"{labels.path}: {n_frames} frames in the labels, but clip {clip!r} of "
            f"{benchmark.name} ends at frame {last}"
        )
    sets = row_sets(benchmark)
    tasks = benchmark.unique_tasks
    n_classes = sum(task.kind == "class" for task in tasks)
    codes = np.empty((n_classes, n_frames), dtype=np.int8)
    values: list[np.ndarray] = []
    used = _used(sets, n_frames)
    rows = {task.name: labels.row(task.name) for task in tasks}  # all, before anything is read
    position = 0
    for done, task in enumerate(tasks):
        if progress:
            progress("reading", done, len(tasks))
        row = labels.values[rows[task.name]]
        if task.kind == "class":
            _encode(row, used, codes[position], task, labels)
            position += 1
        else:
            values.append(_checked(row, used, task, labels))
    if progress:
        progress("reading", len(tasks), len(tasks))
    release_pages(labels.values)
    return Truth(benchmark, labels, sets, codes, values)


def _used(sets: Sequence[RowSet], n_frames: int) -> np.ndarray:
    used = np.zeros(n_frames, dtype=bool)
    for rows in sets:
        for start, stop in rows.ranges:
            used[start:stop] = True
    return used


def _encode(
    row: np.ndarray, used: np.ndarray, codes: np.ndarray, task: Task, labels: LabelFile
) -> None:
    """Fill ``codes`` (N,) from labels (N,), in portions that stay in the cache."""
    for start in range(0, len(row), _CHUNK):
        here = slice(start, start + _CHUNK)
        found = row[here].copy()  # a mapped file need not be aligned
        positive = found == 1
        known = positive | (found == 0)
        # 1 - 0 = 1, 0 - 0 = 0 and 0 - 1 = UNLABELLED
        np.subtract(positive.view(np.int8), (~known).view(np.int8), out=codes[here])
        if not known.all() and (strange := found[~known & used[here] & ~np.isnan(found)]).size:
            raise UserError(_strange_values(row, used, strange, task, labels))


def _strange_values(
    row: np.ndarray, used: np.ndarray, strange: np.ndarray, task: Task, labels: LabelFile
) -> str:
    values, counts = np.unique(row[used & ~np.isnan(row)], return_counts=True)
    listed = ", ".join(f"{v:g} ({n} frames)" for v, n in zip(values, counts, strict=True))
    if len(values) > _MOST_VALUES:
        listed = f"{len(values)} different values, {strange[0]:g} among them"
    return (
        f"{labels.path}: task {task.name!r} is {labels.kind(task.name)!r} but its labels inside "
        f"the clips are {listed}; only 0, 1 and NaN (not labelled) can be scored"
    )


def _checked(row: np.ndarray, used: np.ndarray, task: Task, labels: LabelFile) -> np.ndarray:
    values = np.array(row, dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(values) & used)
    if infinite.size:
        raise UserError(
            f"{labels.path}: task {task.name!r} has an infinite label in frame {infinite[0]}; "
            "use NaN for frames without a label"
        )
    return values
