"""The protocol on embeddings and labels of your own.

Every class of every task is a binary task, every task of the label table a group: the tasks are
the hierarchy. Recordings stand for clips and are never split. With folds every recording is
tested once; what is counted in the rounds is added up before it is scored.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.embeddings import Embeddings
from behaviorzoo.probes import ClassTask
from behaviorzoo.probes.inputs import Features
from behaviorzoo.probes.protocol import ProbePlan
from hieras_eval.benchmarks import Benchmark, Compat, Task
from hieras_eval.counting import Counts, count
from hieras_eval.fitting import Models, fit
from hieras_eval.label_files import LabelFile
from hieras_eval.protocol import Evaluation, scored_evaluation
from hieras_eval.row_sets import RowSet, inner_splits, row_sets
from hieras_eval.truth import UNLABELLED, Progress, Truth

SEEDS = (41, 42, 43)
_ROOM = 1 << 30  # bytes of embeddings that may stay in memory


class FrameMatrix(Features):
    """All features of all recordings in one matrix, each recording read once.

    Beyond 1 GiB the matrix lies in a temporary file, and the memory holds what is in use.

    Args:
        prefix: Put before the level names, see :class:`Features`.
        files: Open embedding files with the same levels and no recording in common.
        levels: Which levels; default all, and all together.

    Attributes:
        rows: Recording -> rows [start, stop) of the matrix.
        values: The matrix (N, width) float32; a recording's rows are filled by ``read``.
    """

    def __init__(
        self, prefix: str, files: Sequence[Embeddings], *, levels: Sequence[str] | None = None
    ) -> None:
        super().__init__(prefix, files, levels=levels)
        lengths = [self.span(name)[1] for name in self.files]
        stops = np.cumsum([0, *lengths]).tolist()
        self.rows = dict(zip(self.files, pairwise(stops), strict=True))
        self.values = _matrix((stops[-1], self.width))
        self._filled: set[str] = set()

    def read(self, recording: str, step: int = 1) -> np.ndarray:
        """See :meth:`Features.read`; the result belongs to the matrix."""
        start, stop = self.rows[recording]
        if recording not in self._filled:
            self.values[start:stop] = super().read(recording)
            self._filled.add(recording)
        return self.values[start:stop:step]


def _matrix(shape: tuple[int, int]) -> np.ndarray:
    if 4 * shape[0] * shape[1] <= _ROOM:
        return np.empty(shape, dtype=np.float32)
    # The file has no name any more once it is mapped, and goes with the last view of it.
    with tempfile.TemporaryFile(prefix="hieras-eval-") as file:
        return np.memmap(file, np.float32, "w+", shape=shape).view(np.ndarray)


def custom_truths(
    plan: ProbePlan,
    kind: FrameMatrix,
    source: Path,
    *,
    test_size: float,
    seeds: Sequence[int] = SEEDS,
) -> list[Truth]:
    """The rounds of a plan as benchmarks of their own.

    Args:
        plan: Labels and split.
        kind: The embeddings, for the rows of the recordings.
        source: The label table, for messages.
        test_size: Share of the training recordings that each seed sets aside.
        seeds: Seeds of the inner splits.

    Returns:
        One for each round. Public and private test are the same recordings.

    Raises:
        UserError: Too few training recordings.
    """
    tasks = custom_tasks(plan)
    codes, values = _codes(plan, kind, len(kind.values))
    names = tuple(task.name for task in tasks)
    # Its values are never looked at, only their number.
    frames = np.broadcast_to(np.float32(0), (len(tasks), len(kind.values)))
    labels = LabelFile(source, names, ("",) * len(names), frames)
    clips = {name: kind.rows[name] for name in plan.spans}
    truths = []
    for train, test in plan.split.rounds:
        tested = _recordings(plan, test)
        benchmark = Benchmark(
            name="custom",
            tasks=tasks,
            clips=clips,
            train=_recordings(plan, train),
            public=tested,
            private=tested,
            seeds=tuple(seeds),
            inner_test_size=test_size,
            source=str(source),
        )
        truths.append(Truth(benchmark, labels, row_sets(benchmark), codes, values))
    return truths


def custom_tasks(plan: ProbePlan) -> tuple[Task, ...]:
    """``task:label`` for every class, ``task`` for a regression; the group is the task."""
    found = []
    for t, task in enumerate(plan.targets.tasks):
        whole = all(_is_constant(plan.targets.values[name][t]) for name in plan.spans)
        if isinstance(task, ClassTask):
            found += [
                Task(f"{task.name}:{label}", "class", task.name, whole) for label in task.classes
            ]
        else:
            found.append(Task(task.name, "value", task.name, whole))
    return tuple(found)


def evaluate_custom(
    kind: FrameMatrix,
    truths: Sequence[Truth],
    *,
    threshold: float = 0.5,
    compat: Compat = "corrected",
    progress: Callable[[str, str, int, int], None] | None = None,
) -> dict[str, Evaluation]:
    """Evaluate every level of one kind of embeddings.

    Args:
        kind: The embeddings.
        truths: See :func:`custom_truths`.
        threshold: From which share of positive frames on a recording is positive.
        compat: Which scores fill the authors' table.
        progress: Told level, stage, how much is done, and of how much.

    Returns:
        Level -> evaluation.
    """
    for name in truths[0].benchmark.clips:
        kind.read(name)
    found = {}
    for level, columns in kind.columns.items():
        values = kind.values[:, columns[0] : columns[-1] + 1]  # neighbours: a view, no copy
        told = None if progress is None else partial(progress, level)
        models, counts = [], []
        for rounds in _batches(truths, values.shape[1]):
            fitted = fit_rounds(values, rounds, told)
            counts += [count(values, *pair, told) for pair in zip(rounds, fitted, strict=True)]
            models += fitted
        found[level] = scored_evaluation(
            _whole(truths),
            _joined_models(models),
            _summed(counts),
            submission=level,
            threshold=threshold,
            compat=compat,
            level=level,
        )
    return found


def fit_rounds(
    values: np.ndarray, truths: Sequence[Truth], progress: Progress | None = None
) -> list[Models]:
    """Models of several rounds from one pass: a recording is multiplied once, whoever fits on it.

    Args:
        values: Embeddings (N, D).
        truths: The rounds.
        progress: Told how many rows are read.
    """
    first = truths[0].benchmark
    n_seeds = len(first.seeds)
    fits: dict[str, list[int]] = {}
    for r, truth in enumerate(truths):
        for s, split in enumerate(inner_splits(truth.benchmark).values()):
            for name in split.fit:
                fits.setdefault(name, []).append(r * n_seeds + s)
    ranges: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for name, rows in first.clips.items():
        if name in fits:
            ranges.setdefault(tuple(fits[name]), []).append(rows)
    sets = [RowSet(who, False, False, np.array(rows)) for who, rows in ranges.items()]
    # Seeds of different rounds are as good as different seeds.
    every = replace(first, seeds=tuple(range(len(truths) * n_seeds)))
    models = fit(values, replace(truths[0], benchmark=every, sets=sets), progress)
    return [
        replace(
            models,
            coef=models.coef[:, start : start + n_seeds],
            intercept=models.intercept[:, start : start + n_seeds],
            rows=models.rows[start : start + n_seeds],
            positives=models.positives[start : start + n_seeds],
        )
        for start in range(0, len(every.seeds), n_seeds)
    ]


def _batches(truths: Sequence[Truth], width: int) -> Iterator[Sequence[Truth]]:
    """Rounds whose sums fit into the memory together; mostly all."""
    a_round = 8 * len(truths[0].benchmark.seeds) * (len(truths[0].tasks) + 1) * (width + 1) ** 2
    size = max(1, _ROOM // a_round)
    for start in range(0, len(truths), size):
        yield truths[start : start + size]


def _whole(truths: Sequence[Truth]) -> Truth:
    """All rounds as one: every tested recording is tested."""
    tested = tuple(name for truth in truths for name in truth.benchmark.public)
    benchmark = replace(truths[0].benchmark, public=tested, private=tested)
    return replace(truths[0], benchmark=benchmark)


def _summed(counts: Sequence[Counts]) -> Counts:
    """Counts of rounds that test different recordings."""
    summed = {
        field.name: sum(getattr(part, field.name) for part in counts)
        for field in fields(Counts)
        if field.name != "merged"
    }
    merged = {
        task: {vote: sum(part.merged[task][vote] for part in counts) for vote in votes}
        for task, votes in counts[0].merged.items()
    }
    return Counts(**summed, merged=merged)  # pyright: ignore[reportArgumentType]


def _joined_models(models: Sequence[Models]) -> Models:
    """Models of the first round, with what is degenerate in any of them.

    A seed has no rows, no positives, or nothing but positives, if this is so in one round.
    """
    rows = np.stack([model.rows for model in models])  # (R, S, K)
    positives = np.stack([model.positives for model in models])
    fewest = rows.min(axis=0)
    usual = np.minimum(positives.min(axis=0), np.maximum(fewest - 1, 0))
    joined = np.where((positives == rows).any(axis=0), fewest, usual)
    joined = np.where((positives == 0).any(axis=0), 0, joined)
    return replace(models[0], rows=fewest, positives=joined)


def _recordings(plan: ProbePlan, cells: Sequence[int]) -> tuple[str, ...]:
    """Recordings of some cells, in the order of the embedding files."""
    chosen = {name for cell in cells for name in plan.split.cells[cell]}
    return tuple(name for name in plan.spans if name in chosen)


def _codes(
    plan: ProbePlan, kind: FrameMatrix, n_frames: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Binary codes (classes of all tasks, N) and values, each (N,), in the rows of the matrix."""
    tasks = plan.targets.tasks
    n_codes = sum(len(task.classes) for task in tasks if isinstance(task, ClassTask))
    codes = np.full((n_codes, n_frames), UNLABELLED, dtype=np.int8)
    values: list[np.ndarray] = []
    first = 0
    for t, task in enumerate(tasks):
        if not isinstance(task, ClassTask):
            column = np.full(n_frames, np.nan)
            for name in plan.spans:
                column[slice(*kind.rows[name])] = plan.targets.values[name][t]
            values.append(column)
            continue
        of_class = np.arange(len(task.classes))[:, None]
        for name in plan.spans:
            found = plan.targets.values[name][t]
            binary = np.where(found >= 0, found == of_class, UNLABELLED)
            codes[first : first + len(task.classes), slice(*kind.rows[name])] = binary
        first += len(task.classes)
    return codes, values


def _is_constant(values: np.ndarray) -> bool:
    """Whether one label (or none) covers all frames, so that it describes the recording."""
    return bool(pd.isna(values).all() or (values == values[0]).all())
