"""What the sections of a report share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.labels import classes_of, dense_labels


@dataclass
class Results:
    """The inputs, read.

    Attributes:
        labels: Label table, if given.
        scores: Scores of the probe with all baselines, if given.
        predictions: Label table with the column ``level``, if given.
        tasks: Tasks, the finest timescale first (by the median length of a bout).
        bouts: Task -> median bout in frames.
        left_out: Sentences on what is not in the report, and why.
    """

    labels: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    tasks: list[str] = field(default_factory=list)
    bouts: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def codes(
        self, recording: str, task: str, first_frame: int, n_frames: int
    ) -> tuple[np.ndarray, list[str]] | None:
        """Label codes of a task in a recording, and its classes.

        None where there are no labels or they overlap, which a single strip cannot show.
        """
        if self.labels is None or task not in set(self.labels["task"]):
            return None
        try:
            classes = classes_of(self.labels, task)
            return dense_labels(self.labels, recording, task, first_frame, n_frames, classes)
        except UserError as error:
            sentence = f"task {task} has no pictures ({error})"
            if sentence not in self.left_out:
                self.left_out.append(sentence)
            return None


def median_bouts(labels: pd.DataFrame) -> dict[str, float]:
    """Median length of a labelled interval in frames, per task that has intervals."""
    rows = labels.loc[labels["start"].notna() & labels["stop"].notna()]
    length = rows["stop"].to_numpy(dtype=float) - rows["start"].to_numpy(dtype=float)
    task = rows["task"].to_numpy()
    return {str(name): float(np.median(length[task == name])) for name in rows["task"].unique()}
