"""From the configuration to samples: prepared folders, the original's arrays, or recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.labels import read_labels
from hysp.data.arrays import label_file_of, open_array, part_array, read_label_file
from hysp.data.config import DataConfig
from hysp.data.dataset import SkeletonData
from hysp.data.prepared import is_prepared, read_prepared
from hysp.data.recordings import benchmark_columns, clips_of_recordings
from hysp.data.skeleton import Skeleton, named_skeleton
from hysp.data.splits import group_folds
from hysp.graph import LAYOUTS

Split = Literal["train", "val", "all"]


def open_data(
    config: DataConfig, split: Split = "train", state: Mapping[str, Any] | None = None
) -> SkeletonData:
    """Open the data of a configuration.

    Args:
        config: Where they are, which labels, who trains.
        split: ``train``, ``val``, or ``all``.
        state: :meth:`SkeletonData.state_dict` of the data that a network was trained on: joints
            must be the same, classes keep their numbers, recordings their scale.

    Raises:
        UserError: Wrong path, files or names, or no sample in the split.
    """
    config.check()
    data = _opened(config, split, state or {})
    if state:
        _check_shape(data, state)
    if not len(data):
        raise UserError(f"{data.where}: no sample in the split {split!r}; check data.benchmark")
    return data


def is_recordings(config: DataConfig) -> bool:
    """Whether the path is of recordings, to be cut, and not of clips that are cut already."""
    path = _single(config)
    if path is None:
        return True
    if is_prepared(path) or path.suffix == ".npy":
        return False
    return not (path.is_dir() and any(path.rglob("*.npy")))


def idle_words(config: DataConfig, words: Iterable[str]) -> list[str]:
    """What to tell of words about the cutting of clips that are cut already: they do nothing.

    Args:
        config: Where the data are.
        words: The user's words; what a recipe says of clips is for recordings, and passed over.
    """
    idle = [word.partition("=")[0] for word in words if word.startswith("data.clips.")]
    if not idle or not config.path or is_recordings(config):
        return []
    return [f"{', '.join(idle)}: without effect, {config.path} holds clips that are cut already"]


def has_split(config: DataConfig, split: Split) -> bool:
    """Whether anything says which samples are of this split; training goes on without ``val``."""
    if split != "val" or config.folds is not None:
        return True
    path = _single(config)
    if path is not None and is_prepared(path):
        _, table, description = read_prepared(path)
        column = _benchmark(config.benchmark, description.benchmarks, str(path))
        return bool(column) and "val" in set(table[column])
    if path is not None and _is_original(path):
        return path.is_dir() and _original_array(config, path, split) is not None
    columns = benchmark_columns(read_labels(config.labels)) if config.labels else []
    return bool(_benchmark(config.benchmark, columns, str(config.labels)))


def _opened(config: DataConfig, split: Split, state: Mapping[str, Any]) -> SkeletonData:
    path = _single(config)
    if path is not None and is_prepared(path):
        array, table, description = read_prepared(path)
        tasks = _same_tasks(description.tasks, state)
        rows = _rows(config, split, table, description.benchmarks, str(path))
        return SkeletonData(
            array,
            table,
            description.skeleton,
            tasks,
            task=_task(config, state),
            rows=rows,
            state=description.state,
            where=str(path),
        )
    if path is not None and _is_original(path):
        return _original(config, path, split, state)
    clips = clips_of_recordings(config, state)
    where = str(config.path)
    rows = _rows(config, split, clips.table, clips.description.benchmarks, where)
    return SkeletonData(
        clips.array,
        clips.table,
        clips.description.skeleton,
        clips.description.tasks,
        task=_task(config, state),
        rows=rows,
        state=clips.description.state,
        where=where,
        notes=clips.notes,
        dropped=clips.dropped,
    )


def _original(
    config: DataConfig, path: Path, split: Split, state: Mapping[str, Any]
) -> SkeletonData:
    """Arrays in the layout of the original: a part per file."""
    if split == "all" and path.is_dir():
        raise UserError(f"{path}: these are two files; give train_position.npy or val_position.npy")
    file = _original_array(config, path, split)
    if file is None:
        raise UserError(
            f"{path}: no {split}_position.npy in it"
            + (f" or in {config.benchmark}/" if config.benchmark else "; give data.benchmark?")
        )
    array = open_array(file)
    skeleton = _skeleton_by_joints(array.shape[3], file)
    names, labels = read_label_file(config.labels or label_file_of(file))
    if len(labels) != len(array):
        raise UserError(f"{file}: {len(array)} samples, but {len(labels)} labels")
    n = max(int(labels.max(initial=0)) + 1, 1)
    tasks = _same_tasks({"action": [f"A{number + 1:03d}" for number in range(n)]}, state)
    table = pd.DataFrame(
        {
            "name": names or [f"{file.stem}_{row}" for row in range(len(array))],
            "action": [f"A{label + 1:03d}" for label in labels],
        }
    )
    table["group"] = table["name"]
    rows = None if config.folds is None else _rows(config, split, table, (), str(file))
    return SkeletonData(
        array, table, skeleton, tasks, task=_task(config, state), rows=rows, where=str(file)
    )


def _rows(
    config: DataConfig, split: Split, table: pd.DataFrame, benchmarks: Sequence[str], where: str
) -> np.ndarray | None:
    """Numbers of the samples of a split."""
    if split == "all":
        return None
    if config.folds is not None:
        fold = group_folds(table["group"].to_numpy(dtype=str), config.folds, config.fold_seed)
        return np.flatnonzero((fold == config.fold) == (split == "val"))
    column = _benchmark(config.benchmark, benchmarks, where)
    if column:
        return np.flatnonzero((table[column] == split).to_numpy())
    if split == "val":
        raise UserError(
            f"{where}: nothing says which samples are for validation; give data.folds=5, or a "
            "column with train and val as data.benchmark"
        )
    return None


def _benchmark(wanted: str, benchmarks: Sequence[str], where: str) -> str:
    if wanted and wanted not in benchmarks:
        raise UserError(
            f"{where}: data.benchmark={wanted}: no such benchmark; {suggest(wanted, benchmarks)}"
        )
    if wanted or not benchmarks:
        return wanted
    if len(benchmarks) > 1:
        raise UserError(
            f"{where}: several benchmarks say who trains ({', '.join(benchmarks)}); choose one "
            "with data.benchmark"
        )
    return benchmarks[0]


def _task(config: DataConfig, state: Mapping[str, Any]) -> str:
    return config.task or str(state.get("task", ""))


def _same_tasks(
    tasks: Mapping[str, Sequence[str]], state: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Classes with the numbers they had in training; what is new there is refused later."""
    known = state.get("tasks", {})
    return {task: list(known.get(task, classes)) for task, classes in tasks.items()}


def _check_shape(data: SkeletonData, state: Mapping[str, Any]) -> None:
    trained = Skeleton.from_dict(state["skeleton"])
    if data.skeleton.joints != trained.joints or data.shape[0] != state["shape"][0]:
        raise UserError(
            f"{data.where}: {data.shape[0]} coordinates of {len(data.skeleton.joints)} joints "
            f"({', '.join(data.skeleton.joints[:4])}, ...), the network was trained on "
            f"{state['shape'][0]} of {len(trained.joints)} ({', '.join(trained.joints[:4])}, ...)"
        )


def _single(config: DataConfig) -> Path | None:
    """The path if it is one; None for several (recordings)."""
    paths = config.path if isinstance(config.path, list) else [config.path]
    if not [path for path in paths if path]:
        raise UserError("data.path is empty: give a folder of `hysp prepare`, arrays or recordings")
    return Path(paths[0]).expanduser() if len(paths) == 1 else None


def _is_original(path: Path) -> bool:
    if path.suffix == ".npy":
        return True
    if not path.is_dir():
        return False
    return any(path.glob("*_position.npy")) or any(path.glob("*/*_position.npy"))


def _original_array(config: DataConfig, path: Path, split: Split) -> Path | None:
    if path.suffix == ".npy":
        return path
    return part_array(path, split, config.benchmark) if path.is_dir() else None


def _skeleton_by_joints(n_joints: int, where: Path) -> Skeleton:
    for layout, (joints, _, _) in LAYOUTS.items():
        if joints == n_joints:
            return named_skeleton(layout)
    known = ", ".join(f"{joints} ({layout})" for layout, (joints, _, _) in LAYOUTS.items())
    raise UserError(f"{where}: {n_joints} joints; arrays of the original have {known}")
