"""Features and targets of the recordings, read one recording at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.embeddings import Embeddings
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.labels import dense_labels
from behaviorzoo.probes.sums import ClassTask, ValueTask
from behaviorzoo.rolling import rolling_mean_std

COMBINED = "combined"
# Beyond this the Gram matrices of all levels together cost more memory than they are worth.
WIDEST_COMBINED = 1024
# So many different numbers are measurements, not the codes of classes.
_MOST_NUMBERS = 50


class Features:
    """The levels of one kind of embeddings, over one or several files with other recordings.

    Args:
        prefix: Put before the level names, to tell several kinds apart.
        files: Open embedding files with the same levels and no recording in common.
        context: Windows in frames; for each, the rolling mean and standard deviation of every
            feature are added as features.
        levels: Which levels, ``combined`` among them; default all, and ``combined`` if there
            are several and they have no more than 1024 features together.
        combine: Also probe all chosen levels together.

    Attributes:
        columns: Level -> columns of the matrix that ``read`` returns.
        notes: What a reader of the results should know.
    """

    def __init__(
        self,
        prefix: str,
        files: Sequence[Embeddings],
        *,
        context: Sequence[int] = (),
        levels: Sequence[str] | None = None,
        combine: bool = False,
    ) -> None:
        self.files = {name: file for file in files for name in file.recordings}
        self._context = tuple(context)
        self.notes: list[str] = []
        known = files[0].levels
        for level in levels or ():
            if level not in (*known, COMBINED):
                hint = suggest(level, [*known, COMBINED])
                raise UserError(f"{files[0].path}: no level {level!r}; {hint}")
        # ``combined`` alone means: all levels, but only together.
        alone = levels is not None and set(levels) == {COMBINED}
        named = [level for level in levels or () if level != COMBINED]
        self._levels = named or list(known)
        widths = {
            level: files[0].features(level) * (1 + 2 * len(self._context)) for level in self._levels
        }
        edges = np.cumsum([0, *widths.values()]).tolist()
        self.columns: dict[str, np.ndarray] = {}
        for level, start, stop in zip(self._levels, edges[:-1], edges[1:], strict=True):
            if not alone:
                self.columns[prefix + level] = np.arange(start, stop)
        asked = combine or COMBINED in (levels or ())
        if asked or (levels is None and len(self._levels) > 1 and edges[-1] <= WIDEST_COMBINED):
            self.columns[prefix + COMBINED] = np.arange(edges[-1])
        elif levels is None and len(self._levels) > 1:
            self.notes.append(
                f"the {len(self._levels)} levels of {files[0].path.name} have {edges[-1]} features "
                "together and are not combined; ask for it with --combine"
            )
        self.width: int = edges[-1]

    @property
    def has_combined(self) -> bool:
        """Whether one set of columns contains all others."""
        return any(len(columns) == self.width for columns in self.columns.values())

    def span(self, recording: str) -> tuple[int, int]:
        """First frame and number of frames of a recording."""
        return self.files[recording].span(recording)

    def read(self, recording: str, step: int = 1) -> np.ndarray:
        """All features of every ``step``-th frame of a recording (frames, width) float32.

        Raises:
            UserError: The embeddings are not finite.
        """
        file = self.files[recording]
        parts = []
        for level in self._levels:
            values = file.read(level, recording)
            if not np.isfinite(values).all():
                raise UserError(
                    f"{file.path}: recording {recording!r}, {level}: values that are not finite; "
                    "a probe needs a number for every frame"
                )
            parts.append(values[::step])
            for window in self._context:
                parts += [part[::step] for part in rolling_mean_std(values, window)]
        return np.concatenate(parts, axis=1)


def group_files(files: Sequence[Embeddings]) -> list[tuple[str, list[Embeddings]]]:
    """Find which files are parts of the same embeddings, and name the kinds.

    Files with the same levels and sizes and no recording in common belong together (such as a
    file for training and one for testing). Others are compared side by side.

    Returns:
        Pairs (prefix for the level names, files); the prefix is empty where no name is shared.

    Raises:
        UserError: Two kinds would have the same name.
    """
    kinds: list[list[Embeddings]] = []
    for file in files:
        for kind in kinds:
            same = _shape(file) == _shape(kind[0])
            if same and all(not set(file.recordings) & set(k.recordings) for k in kind):
                kind.append(file)
                break
        else:
            kinds.append([file])
    taken = Counter(level for kind in kinds for level in kind[0].levels)
    # ``combined`` is a name too, where there is more than one level.
    taken[COMBINED] += sum(len(kind[0].levels) > 1 for kind in kinds)
    names = [Path(kind[0].path).stem for kind in kinds]
    if len(set(names)) < len(names):
        names = [str(kind[0].path) for kind in kinds]
    if len(set(names)) < len(names):
        raise UserError(f"{names[0]}: the same embedding file is given twice")
    return [
        (f"{name}/" if any(taken[level] > 1 for level in _names(kind[0])) else "", kind)
        for name, kind in zip(names, kinds, strict=True)
    ]


def _names(file: Embeddings) -> list[str]:
    return [*file.levels, COMBINED] if len(file.levels) > 1 else file.levels


def _shape(file: Embeddings) -> dict[str, int]:
    return {level: file.features(level) for level in file.levels}


@dataclass(frozen=True)
class Targets:
    """Labels of all tasks in the frames of the recordings.

    Attributes:
        tasks: The tasks.
        values: Recording -> one array (n_frames,) per task: codes, or values for a regression.
        skipped: Task -> why it cannot be probed.
    """

    tasks: list[ClassTask | ValueTask]
    values: dict[str, list[np.ndarray]]
    skipped: dict[str, str]


def read_targets(
    labels: pd.DataFrame,
    spans: Mapping[str, tuple[int, int]],
    *,
    tasks: Sequence[str] | None = None,
    regression: Sequence[str] = (),
) -> Targets:
    """Turn a label table into arrays per recording.

    Args:
        labels: Label table.
        spans: Recording -> (first frame, number of frames).
        tasks: Which tasks; default all of the table.
        regression: Tasks whose labels are numbers to be predicted.

    Returns:
        The targets of the recordings in ``spans``. A task that has fewer than two classes (or
        values) in them is skipped and named.

    Raises:
        UserError: No such task, a label that is not a number in a regression task, a task of
            many numbers that is not one, or no task that can be probed.
    """
    known = list(dict.fromkeys(labels["task"]))
    chosen = list(dict.fromkeys([*(tasks or known), *regression]))
    for task in chosen:
        if task not in known:
            raise UserError(f"labels: no task {task!r}; {suggest(task, known)}")
    used = labels[labels["recording"].isin(list(spans))]
    rows = {str(name): pd.DataFrame(table) for name, table in used.groupby("recording")}
    kept: list[ClassTask | ValueTask] = []
    columns: list[dict[str, np.ndarray]] = []
    skipped: dict[str, str] = {}
    for task in chosen:
        names = sorted(set(used.loc[used["task"] == task, "label"]))
        codes = {
            name: dense_labels(rows[name], name, task, *spans[name], classes=names)[0]
            for name in spans
        }
        counts = sum(np.bincount(c + 1, minlength=len(names) + 1)[1:] for c in codes.values())
        if np.count_nonzero(counts) < 2:
            skipped[task] = f"{np.count_nonzero(counts)} classes occur in the frames"
        elif task in regression:
            kept.append(ValueTask(task))
            columns.append(_numbers(task, names, codes))
        elif len(names) > _MOST_NUMBERS and all(map(_is_number, names)):
            raise UserError(
                f"labels: task {task!r} has {len(names)} different numbers as labels; predict "
                f"them with --regression {task}, or leave it out with --tasks"
            )
        else:
            kept.append(ClassTask(task, tuple(names), implied=int(np.argmax(counts))))
            columns.append(codes)
    if not kept:
        reasons = "; ".join(f"{task}: {why}" for task, why in skipped.items())
        raise UserError(f"labels: no task can be probed ({reasons})")
    return Targets(kept, {name: [c[name] for c in columns] for name in spans}, skipped)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(
    task: str, names: Sequence[str], codes: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    try:
        values = np.array([*map(float, names), np.nan])
    except ValueError as error:
        raise UserError(f"labels: regression task {task!r}: {error}; labels must be numbers") from (
            error
        )
    return {name: values[code] for name, code in codes.items()}
