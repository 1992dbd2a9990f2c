"""Label files: what is true of every frame, one row per task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.mabe import frame_ranges, load_dictionary, required


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Labels of all frames.

    Attributes:
        path: The file.
        vocabulary: Names of the K rows.
        task_types: Type of each row; ``"Discrete"`` = classes, anything else = numbers.
        values: (K, N); NaN = not labelled. Left on the disk where the file permits.
        clips: The file's own clip -> rows [start, stop), where it has one.
    """

    path: Path
    vocabulary: tuple[str, ...]
    task_types: tuple[str, ...]
    values: np.ndarray
    clips: dict[str, tuple[int, int]] | None = None

    def row(self, task: str) -> int:
        """Row of a task; rows are found by name, their order is the file's own.

        Raises:
            UserError: The vocabulary lacks the task.
        """
        if task not in self.vocabulary:
            raise UserError(
                f"{self.path}: the vocabulary of {len(self.vocabulary)} names lacks the task "
                f"{task!r}; {suggest(task, self.vocabulary)}"
            )
        return self.vocabulary.index(task)

    def kind(self, task: str) -> str:
        """Type of a task as the file says it."""
        return self.task_types[self.row(task)]


def open_labels(path: str | Path) -> LabelFile:
    """Read a label file: a dictionary with ``vocabulary``, ``task_type`` and ``label_array``.

    Args:
        path: ``.npy`` or ``.pickle``; nothing in it is run.

    Raises:
        UserError: Not such a file, a part is missing, or the parts do not fit.
    """
    contents = load_dictionary(
        path,
        memory_map=True,
        what="labels: a dictionary with 'vocabulary', 'task_type' and 'label_array'",
    )
    if "label_array" not in contents and "annotations" in contents:
        raise UserError(
            f"{path}: labels of the older shape ('annotations' by clip) cannot be evaluated; "
            "take the release with 'label_array' (tasks, frames)"
        )
    vocabulary = _names(required(contents, "vocabulary", path), "vocabulary", path)
    types = _names(required(contents, "task_type", path), "task_type", path)
    values = required(contents, "label_array", path)
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiub":
        found = f"{values.shape} {values.dtype}" if isinstance(values, np.ndarray) else type(values)
        raise UserError(f"{path}: 'label_array' is {found}, expected numbers (tasks, frames)")
    if not len(vocabulary) == len(types) == len(values):
        raise UserError(
            f"{path}: {len(vocabulary)} names in 'vocabulary', {len(types)} in 'task_type' and "
            f"{len(values)} rows in 'label_array'; the three must be equal"
        )
    clips = contents.get("frame_number_map")
    if clips is not None:
        clips = frame_ranges(clips, path)
    return LabelFile(Path(path), vocabulary, types, values, clips)


def _names(entries: object, key: str, path: str | Path) -> tuple[str, ...]:
    if not isinstance(entries, list | tuple | np.ndarray):
        raise UserError(f"{path}: {key!r} is a {type(entries).__name__}, expected a list of names")
    return tuple(map(str, entries))
