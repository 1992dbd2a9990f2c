"""Predictions of the test recordings, counted as they come, and the baselines beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from behaviorzoo.labels import from_dense
from behaviorzoo.probes.fitting import TaskModel
from behaviorzoo.probes.inputs import Features, Targets
from behaviorzoo.probes.scores import Chance, ClassTally, class_rows, value_rows
from behaviorzoo.probes.splits import Split
from behaviorzoo.probes.sums import ClassTask


class Baselines:
    """Chance levels and training means of every task, the same for all levels."""

    def __init__(self, targets: Targets, split: Split, every: int) -> None:
        self.chance: dict[int, Chance] = {}
        self.means: dict[int, np.ndarray] = {}
        self.n_train: dict[int, int] = {}
        for t, task in enumerate(targets.tasks):
            per_round = [
                np.concatenate(
                    [targets.values[n][t][::every] for c in train for n in split.cells[c]]
                )
                for train, _ in split.rounds
            ]
            if not isinstance(task, ClassTask):
                known = [values[~np.isnan(values)] for values in per_round]
                self.means[t] = np.array([v.mean() if v.size else 0.0 for v in known])
                self.n_train[t] = int(np.mean([v.size for v in known]))
                continue
            chance = Chance(task)
            counts = np.array(
                [np.bincount(v[v >= 0], minlength=len(task.classes)) for v in per_round]
            )
            # With folds every frame trains several times: the mean over the rounds is given.
            chance.n_train = np.rint(counts.mean(axis=0)).astype(np.int64)
            for (_, test), train_counts in zip(split.rounds, counts, strict=True):
                for cell in test:
                    for name in split.cells[cell]:
                        chance.add(targets.values[name][t], train_counts)
            self.chance[t] = chance


class Tested:
    """Predictions and counts over the test recordings."""

    def __init__(
        self,
        kind: Features,
        targets: Targets,
        models: Sequence[dict[str, list[TaskModel]]],
        split: Split,
        spans: dict[str, tuple[int, int]],
        baselines: Baselines,
    ) -> None:
        self.targets = targets
        self.baselines = baselines
        self.levels = list(kind.columns)
        self.predictions: list[pd.DataFrame] = []
        self.tallies = {
            (level, t): ClassTally(task)
            for level in self.levels
            for t, task in enumerate(targets.tasks)
            if isinstance(task, ClassTask)
        }
        self.values: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        todo = [
            (index, name)
            for index, (_, test) in enumerate(split.rounds)
            for cell in test
            for name in split.cells[cell]
        ]
        for index, name in tqdm(todo, desc="test", unit="recording", disable=None, leave=False):
            features = kind.read(name)
            for level, columns in kind.columns.items():
                fitted = models[index][level]
                coef = np.concatenate([model.coef for model in fitted])
                intercept = np.concatenate([model.intercept for model in fitted])
                # (n, D) x (D, K of all tasks)
                outputs = features[:, columns] @ coef.T + intercept
                edges = np.cumsum([len(model.coef) for model in fitted])[:-1]
                parts = np.split(outputs, edges, axis=1)
                for t, part in enumerate(parts):
                    self._count(level, t, part, name, index, spans[name][0])

    def _count(
        self, level: str, t: int, outputs: np.ndarray, name: str, index: int, first_frame: int
    ) -> None:
        task, truth = self.targets.tasks[t], self.targets.values[name][t]
        if not isinstance(task, ClassTask):
            mean = np.full(len(truth), self.baselines.means[t][index])
            self.values[level, t].append(np.stack([truth, outputs[:, 0], mean]))
            return
        n_classes = len(task.classes)
        predicted = outputs[:, :n_classes].argmax(axis=1)
        self.tallies[level, t].add(truth, predicted, outputs[:, n_classes:] > 0)
        table = from_dense(predicted, name, task.name, first_frame, task.classes)
        self.predictions.append(table.assign(level=level))

    def rows(self, background: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of the score table."""
        rows: list[dict[str, Any]] = []
        for level in self.levels:
            for t, task in enumerate(self.targets.tasks):
                if isinstance(task, ClassTask):
                    tally, chance = self.tallies[level, t], self.baselines.chance[t]
                    rows += class_rows(level, tally, chance, background)
                else:
                    truth, predicted, mean = np.concatenate(self.values[level, t], axis=1)
                    n_train = self.baselines.n_train[t]
                    rows += value_rows(level, task, truth, predicted, mean, n_train)
        return rows
