"""The sums over frames that a linear probe needs, per group of recordings and per class.

With x~ = (x - shift, 1), the matrix G = sum of x~ x~^T holds the Gram matrix, the sums and the
count of a set of frames at once. G is kept per group (a fold, or a set of recordings that is
always used together) for all frames and for the frames of each class. The frames of one class of
each task, the implied one, are not summed: G of that class is what remains of the total. So many
binary tasks with rare positives cost little more than one pass.

Letters: D features, C classes, E = D + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_BLOCK_ROWS = 8192
_MISSING = -1


@dataclass(frozen=True)
class ClassTask:
    """A task with classes.

    Args:
        name: Name of the task.
        classes: Class names, in the order of their codes.
        implied: Code of the class whose sums are not formed but follow from the total. Best the
            most frequent class; any choice gives the same result.
    """

    name: str
    classes: tuple[str, ...] = field(default=("no", "yes"))
    implied: int = 0


@dataclass(frozen=True)
class ValueTask:
    """A task with a number per frame (regression)."""

    name: str


class ProbeSums:
    """Sums over frames, per group, for many tasks.

    Args:
        n_features: D.
        tasks: The tasks, in the order of the targets given to ``add``.
        n_groups: Number of groups.
        shift: Vector (D,) taken from all features before anything is squared, so that a large
            mean costs no digits; default: the mean of the first block. Results do not depend on
            it, because every model has an intercept.
        dtype: Precision of the products within a block of 8192 frames. Sums over blocks are
            always float64; float32 is about twice as fast and exact to about 1e-6.

    Attributes:
        rows: Number of frames seen per group (n_groups,).
    """

    def __init__(
        self,
        n_features: int,
        tasks: Sequence[ClassTask | ValueTask],
        n_groups: int,
        *,
        shift: np.ndarray | None = None,
        dtype: type[np.float64] | type[np.float32] = np.float64,
    ) -> None:
        self.n_features = n_features
        self.tasks = list(tasks)
        self.n_groups = n_groups
        self._side = n_features + 1
        self._dtype = dtype
        self.shift = None if shift is None else self._exact(shift)
        self._total = self._zeros()
        # (task, class or _MISSING) -> (n_groups, E, E); made when the first such frame is seen.
        self._parts: dict[tuple[int, int], np.ndarray] = {}
        self._moments = {
            t: np.zeros((n_groups, self._side))
            for t, task in enumerate(self.tasks)
            if isinstance(task, ValueTask)
        }
        self._squares = {t: np.zeros(n_groups) for t in self._moments}

    @property
    def rows(self) -> np.ndarray:
        """Number of frames seen per group (n_groups,)."""
        return self._total[:, -1, -1]

    def add(self, features: np.ndarray, targets: Sequence[np.ndarray], group: int) -> None:
        """Add the frames of one group; any number of calls, any number of frames.

        Args:
            features: (n, D), finite.
            targets: One array (n,) per task: class codes with -1 = unlabelled, or values with
                NaN = unlabelled.
            group: Index of the group that all these frames belong to.

        Raises:
            ValueError: Wrong shapes, a class code out of range, or features not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(f"features {features.shape} must be (n, {self.n_features})")
        if len(targets) != len(self.tasks) or any(len(t) != len(features) for t in targets):
            raise ValueError(f"{len(self.tasks)} targets of {len(features)} frames were expected")
        if self.shift is None and len(features):
            self.shift = self._exact(features[:_BLOCK_ROWS].mean(axis=0, dtype=np.float64))
        for start in range(0, len(features), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            self._add_block(features[rows], [target[rows] for target in targets], group)

    def include(self, other: ProbeSums, groups: Sequence[int]) -> None:
        """Add all sums of ``other`` to each of the groups: frames that several groups share.

        Args:
            other: Sums of the same tasks with the same shift, in any number of groups.
            groups: Groups of these sums.

        Raises:
            ValueError: Other tasks or another shift.
        """
        if other.tasks != self.tasks or not np.array_equal(other.shift_of(), self.shift_of()):
            raise ValueError("sums of other tasks or with another shift cannot be included")
        chosen = list(groups)
        self._total[chosen] += other._total.sum(axis=0)
        for key, part in other._parts.items():
            self._part(key)[chosen] += part.sum(axis=0)
        for t, moments in other._moments.items():
            self._moments[t][chosen] += moments.sum(axis=0)
            self._squares[t][chosen] += other._squares[t].sum()

    def _add_block(self, features: np.ndarray, targets: Sequence[np.ndarray], group: int) -> None:
        block = np.ones((len(features), self._side), dtype=self._dtype)
        block[:, :-1] = features
        block[:, :-1] -= self.shift_of().astype(self._dtype)
        gram = block.T @ block
        if not np.isfinite(gram[-1]).all():
            raise ValueError("features must be finite")
        self._total[group] += gram
        # Tasks often miss the same frames: each set of frames is multiplied once.
        sets = _FrameSets(block, gram)
        for t, (task, target) in enumerate(zip(self.tasks, targets, strict=True)):
            if isinstance(task, ValueTask):
                self._add_values(block, np.asarray(target, dtype=np.float64), t, group, sets)
                continue
            for code in _codes(target, task):
                if code != task.implied:
                    self._part((t, code))[group] += sets.gram(target == code)

    def _add_values(
        self, block: np.ndarray, values: np.ndarray, t: int, group: int, sets: _FrameSets
    ) -> None:
        missing = np.isnan(values)
        if missing.any():
            self._part((t, _MISSING))[group] += sets.gram(missing)
            values = np.where(missing, 0.0, values)
        self._moments[t][group] += values @ block
        self._squares[t][group] += values @ values

    def _part(self, key: tuple[int, int]) -> np.ndarray:
        """Sums of the frames with one code of a task (n_groups, E, E)."""
        if key not in self._parts:
            self._parts[key] = self._zeros()
        return self._parts[key]

    def _exact(self, shift: np.ndarray) -> np.ndarray:
        """The shift as it is subtracted, in the precision of the products."""
        return np.asarray(shift).astype(self._dtype).astype(np.float64)

    def _zeros(self) -> np.ndarray:
        return np.zeros((self.n_groups, self._side, self._side))

    # -- what the solvers ask for ------------------------------------------------------------

    def total(self, groups: Sequence[int], columns: np.ndarray | None = None) -> np.ndarray:
        """G of all frames of the groups (E, E)."""
        return self._take(self._total, groups, columns).sum(axis=0)

    def classes(
        self, task: int, groups: Sequence[int], columns: np.ndarray | None = None
    ) -> np.ndarray:
        """G of each class of a task, per group.

        Args:
            task: Index of a ``ClassTask``.
            groups: Which groups.
            columns: Which features; default all.

        Returns:
            (len(groups), C, E, E) with E = len(columns) + 1. Sum over the first axis to train on
            the groups together.
        """
        described = self.tasks[task]
        if not isinstance(described, ClassTask):
            raise TypeError(f"task {described.name!r} has no classes")
        total = self._take(self._total, groups, columns)
        sums = np.zeros((len(groups), len(described.classes), *total.shape[1:]))
        remaining = total
        for code in (_MISSING, *range(len(described.classes))):
            part = self._parts.get((task, code))
            if part is not None:
                taken = self._take(part, groups, columns)
                remaining = remaining - taken
                if code != _MISSING:
                    sums[:, code] = taken
        sums[:, described.implied] = remaining
        return sums

    def values(
        self, task: int, groups: Sequence[int], columns: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """G of the labelled frames, sum of y x~ and sum of y^2 of a ``ValueTask``, per group.

        Returns:
            (len(groups), E, E), (len(groups), E) and (len(groups),).
        """
        gram = self._take(self._total, groups, columns)
        missing = self._parts.get((task, _MISSING))
        if missing is not None:
            gram = gram - self._take(missing, groups, columns)
        moments = self._moments[task][list(groups)]
        if columns is not None:
            moments = moments[:, self._extended(columns)]
        return gram, moments, self._squares[task][list(groups)]

    def shift_of(self, columns: np.ndarray | None = None) -> np.ndarray:
        """Shift of the chosen features (len(columns),)."""
        shift = np.zeros(self.n_features) if self.shift is None else self.shift
        return shift if columns is None else shift[columns]

    def _take(
        self, sums: np.ndarray, groups: Sequence[int], columns: np.ndarray | None
    ) -> np.ndarray:
        if columns is None:
            return sums[list(groups)]
        index = self._extended(columns)
        return sums[np.ix_(np.asarray(groups), index, index)]

    def _extended(self, columns: np.ndarray) -> np.ndarray:
        return np.append(columns, self.n_features)


class _FrameSets:
    """Gram matrices of sets of frames of one block; each set is multiplied once.

    Args:
        block: x~ of all frames (n, E).
        gram: G of all frames (E, E).
    """

    def __init__(self, block: np.ndarray, gram: np.ndarray) -> None:
        self._block, self._all = block, gram
        self._known: dict[bytes, np.ndarray] = {}

    def gram(self, chosen: np.ndarray) -> np.ndarray:
        """G of the frames (n,) bool that are chosen."""
        count = np.count_nonzero(chosen)
        if count == len(chosen):
            return self._all
        fingerprint = chosen.tobytes()
        if fingerprint not in self._known:
            # Of two complements the smaller is multiplied.
            if 2 * count > len(chosen):
                self._known[fingerprint] = self._all - self._product(~chosen)
            else:
                self._known[fingerprint] = self._product(chosen)
        return self._known[fingerprint]

    def _product(self, chosen: np.ndarray) -> np.ndarray:
        rows = self._block.compress(chosen, axis=0)
        return rows.T @ rows


def _codes(target: np.ndarray, task: ClassTask) -> list[int]:
    """Codes that occur among the frames.

    Raises:
        ValueError: One is out of range.
    """
    lowest, highest = int(target.min()), int(target.max())
    if lowest < _MISSING or highest >= len(task.classes):
        raise ValueError(f"task {task.name!r}: class code out of range")
    if highest - lowest < 2:
        return [lowest] if lowest == highest else [lowest, highest]
    counts = np.bincount(target.astype(np.intp) - lowest)
    return (np.flatnonzero(counts) + lowest).tolist()


@dataclass(frozen=True)
class LevelSums:
    """The sums of one level.

    Attributes:
        sums: Sums of the level, or of several levels together.
        inside: Columns of the level in the sums (D,).
        columns: Columns of the level in the matrix of all features of a frame (D,).
    """

    sums: ProbeSums
    inside: np.ndarray
    columns: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """Shift of the level's features (D,)."""
        return self.sums.shift_of(self.inside)

    def classes(self, task: int, groups: Sequence[int]) -> np.ndarray:
        """See :meth:`ProbeSums.classes`."""
        return self.sums.classes(task, groups, self.inside)

    def values(self, task: int, groups: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See :meth:`ProbeSums.values`."""
        return self.sums.values(task, groups, self.inside)
