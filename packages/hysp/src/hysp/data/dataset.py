"""Samples ready for a network, with their labels; :mod:`hysp.data.opening` makes them.

Letters: N samples, C coordinates, T frames, V joints, M persons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from hysp.data.skeleton import Skeleton

if TYPE_CHECKING:
    import torch

UNLABELLED = -1
_ROWS_AT_ONCE = 1024


@dataclass
class Batch:
    """Samples of a batch.

    Attributes:
        x: float32 (B, C, T, V, M), an absent person 0.
        labels: int64 (B,), -1 = none; None where the data have no labels.
        index: int64 (B,) numbers of the samples in their data set.
    """

    x: torch.Tensor
    labels: torch.Tensor | None
    index: torch.Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Any) -> Batch:
        labels = None if self.labels is None else change(self.labels)
        return Batch(change(self.x), labels, change(self.index))


class SkeletonData:
    """Samples of one split with their labels.

    Args:
        array: float32 (N', C, T, V, M), in memory or mapped.
        table: A row for each of the N' samples: ``name``, ``group``, a column of class names per
            task.
        skeleton: The joints.
        tasks: Task -> names of its classes.
        task: The task whose labels count; empty = the only one, if there is one.
        rows: Which samples are in this split; None = all.
        state: What other data need to be treated alike.
        where: File or folder, for messages.
        notes: What the user should know.
        dropped: What was left out, and why.

    Attributes:
        labels: int64 (N,), -1 = unlabelled; None where no task is chosen.
        names: N names.
        groups: N names of what must not be torn apart (clip, recording, subject).

    Raises:
        UserError: No such task.
    """

    def __init__(
        self,
        array: np.ndarray,
        table: pd.DataFrame,
        skeleton: Skeleton,
        tasks: Mapping[str, Sequence[str]],
        *,
        task: str = "",
        rows: np.ndarray | None = None,
        state: Mapping[str, Any] | None = None,
        where: str = "data",
        notes: Sequence[str] = (),
        dropped: pd.DataFrame | None = None,
    ):
        self._array = array
        self.rows = np.arange(len(array)) if rows is None else np.asarray(rows, dtype=np.int64)
        self._whole_table = table
        self.table = table.iloc[self.rows].reset_index(drop=True)
        self.skeleton = skeleton
        self.tasks = {name: list(classes) for name, classes in tasks.items()}
        self.task = _chosen_task(task, self.tasks, where)
        self._state = dict(state or {})
        self.where = where
        self.notes = list(notes)
        self.dropped = dropped if dropped is not None else pd.DataFrame()
        self.names = [str(name) for name in self.table["name"]]
        self.groups = self.table["group"].to_numpy(dtype=str)
        self.labels = self._codes()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, V, M) of a sample."""
        return self._array.shape[1:]

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the task; label i is the i-th."""
        return self.tasks.get(self.task, [])

    @property
    def n_classes(self) -> int:
        """Number of classes of the task, whether or not each occurs in this split."""
        return len(self.classes)

    @property
    def x(self) -> np.ndarray:
        """All samples, float32 (N, C, T, V, M): a view if the split is in one piece, else read."""
        contiguous = len(self) and (np.diff(self.rows) == 1).all()
        if contiguous:
            return self._array[self.rows[0] : self.rows[-1] + 1]
        return self._array[self.rows]

    @cached_property
    def present(self) -> np.ndarray:
        """Which persons are there at all: boolean (N, M)."""
        parts = [
            (np.asarray(self._array[rows]) != 0).any(axis=(1, 2, 3))
            for rows in np.array_split(self.rows, max(-(-len(self) // _ROWS_AT_ONCE), 1))
        ]
        return np.concatenate(parts)

    def batch(self, indices: np.ndarray | Sequence[int]) -> Batch:
        """Samples by their numbers, in the order given.

        Raises:
            UserError: A sample holds NaN or infinite values; names it.
        """
        import torch  # here, so that `hysp prepare` starts without it

        indices = np.asarray(indices, dtype=np.int64)
        x = np.ascontiguousarray(self._array[self.rows[indices]], dtype=np.float32)
        # A sum is finite only if all are (or they are far beyond any coordinate); one quick pass.
        sums = x.reshape(len(x), -1).sum(axis=1)
        if not np.isfinite(sums).all():
            name = self.names[indices[int(np.argmin(np.isfinite(sums)))]]
            raise UserError(
                f"{self.where}: sample {name} holds NaN or infinite coordinates; prepare the data "
                "again, an absent person is 0"
            )
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices])
        return Batch(torch.from_numpy(x), labels, torch.from_numpy(indices.copy()))

    def select(self, indices: np.ndarray | Sequence[int]) -> SkeletonData:
        """The data set of some of the samples, in the order given."""
        return self._again(rows=self.rows[np.asarray(indices, dtype=np.int64)])

    def with_task(self, task: str) -> SkeletonData:
        """The same samples with the labels of another task."""
        return self._again(task=task)

    def state_dict(self) -> dict[str, Any]:
        """What other data need to be treated alike: joints, classes, scale; plain values."""
        state: dict[str, Any] = dict(self._state)
        state |= {"skeleton": self.skeleton.to_dict(), "tasks": self.tasks, "task": self.task}
        return state | {"shape": list(self.shape)}

    def _again(self, **changes: Any) -> SkeletonData:
        given: dict[str, Any] = {
            "task": self.task,
            "rows": self.rows,
            "state": self._state,
            "where": self.where,
            "notes": self.notes,
            "dropped": self.dropped,
        }
        return SkeletonData(
            self._array, self._whole_table, self.skeleton, self.tasks, **(given | changes)
        )

    def _codes(self) -> np.ndarray | None:
        if not self.task:
            return None
        names = self.table[self.task].astype(str)
        codes = pd.Index(self.classes).get_indexer(names)
        strange = (codes < 0) & (names != "").to_numpy()
        if strange.any():
            name = names.iloc[int(strange.argmax())]
            raise UserError(
                f"{self.where}: {self.task} {name!r} is not among the classes; "
                f"{suggest(name, self.classes)}"
            )
        return np.where(codes < 0, UNLABELLED, codes).astype(np.int64)


def _chosen_task(task: str, tasks: Mapping[str, Sequence[str]], where: str) -> str:
    if task and task not in tasks:
        raise UserError(f"{where}: data.task={task}: no such labels; {suggest(task, tasks)}")
    return task or (next(iter(tasks)) if len(tasks) == 1 else "")
