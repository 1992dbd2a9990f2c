"""The folder that ``hysp prepare`` writes: one array, one table, one description.

    clips.npy      float32 (N, C, T, V, M), an absent person 0; mapped, read when used
    samples.csv    a row a sample: name, group, a column per task (class names), a column per
                   benchmark (train, val or empty), and what else the source tells
    dropped.csv    what was left out, and why
    dataset.json   skeleton, classes of every task, benchmarks, settings

All benchmarks share the array: which samples are whose is a column of the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from hysp.data.arrays import open_array
from hysp.data.skeleton import Skeleton

CLIPS, SAMPLES, DROPPED, DESCRIPTION = "clips.npy", "samples.csv", "dropped.csv", "dataset.json"
DROPPED_COLUMNS = ("name", "reason", "file")
FORMAT = 1


@dataclass(frozen=True)
class Description:
    """What holds for all samples of a prepared folder.

    Attributes:
        source: Where they come from: ``ntu``, ``pkummd``, ``recordings``, ...
        skeleton: The joints.
        tasks: Task -> names of its classes; label i is the i-th of them.
        benchmarks: Columns of the table that say train or val.
        settings: With what they were made.
        state: What other data need to be treated alike (scale of recordings).
    """

    source: str
    skeleton: Skeleton
    tasks: Mapping[str, Sequence[str]]
    benchmarks: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


def is_prepared(path: str | Path) -> bool:
    """Whether a path is a prepared folder."""
    return (Path(path).expanduser() / DESCRIPTION).is_file()


def read_prepared(folder: str | Path) -> tuple[np.ndarray, pd.DataFrame, Description]:
    """Array (mapped), table and description of a prepared folder.

    Raises:
        UserError: A file is absent or damaged, or they do not belong together.
    """
    folder = Path(folder).expanduser()
    description = read_description(folder)
    array = open_array(folder / CLIPS)
    path = existing_file(folder / SAMPLES, "sample table")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error})") from error
    wanted = ["name", "group", *description.tasks, *description.benchmarks]
    absent = [column for column in wanted if column not in table.columns]
    if absent:
        raise UserError(f"{path}: no column {absent[0]!r}; prepare the data again")
    if len(table) != len(array):
        raise UserError(
            f"{path}: {len(table)} samples, but {CLIPS} has {len(array)}; prepare the data again"
        )
    if array.shape[3] != len(description.skeleton.joints):
        raise UserError(
            f"{folder / CLIPS}: {array.shape[3]} joints, but {DESCRIPTION} names "
            f"{len(description.skeleton.joints)}; prepare the data again"
        )
    return array, table, description


def read_description(folder: str | Path) -> Description:
    """Description of a prepared folder.

    Raises:
        UserError: No such file, damaged, or of a later version.
    """
    path = existing_file(Path(folder) / DESCRIPTION, "description of the data")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise UserError(
                f"{path}: format {values['format']}, this version reads {FORMAT}; prepare again"
            )
        skeleton = Skeleton.from_dict(values["skeleton"])
        parts = (values[key] for key in ("tasks", "benchmarks", "settings", "state"))
        return Description(values["source"], skeleton, *parts)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); prepare the data again") from error


def write_description(folder: Path, description: Description) -> None:
    """Write the description: the last file of a prepared folder, its sign of being complete."""
    values = {
        "format": FORMAT,
        "source": description.source,
        "skeleton": description.skeleton.to_dict(),
        "tasks": {task: list(classes) for task, classes in description.tasks.items()},
        "benchmarks": list(description.benchmarks),
        "settings": dict(description.settings),
        "state": dict(description.state),
    }
    with atomic_path(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as csv under its name once it is whole."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_prepared(
    folder: Path,
    clips: np.ndarray,
    table: pd.DataFrame,
    dropped: pd.DataFrame,
    description: Description,
) -> None:
    """Write a prepared folder of clips that are in memory.

    Raises:
        UserError: There is one already.
    """
    refuse_existing(folder)
    with atomic_path(folder / CLIPS) as temporary:
        np.save(temporary, np.ascontiguousarray(clips, dtype=np.float32))
    write_table(table, folder / SAMPLES)
    write_table(dropped, folder / DROPPED)
    write_description(folder, description)


def refuse_existing(folder: Path) -> None:
    """Refuse to write over prepared data, or into a file.

    Raises:
        UserError: The folder has them, or is none.
    """
    if folder.is_file():
        raise UserError(f"{folder}: this is a file, give the name of a folder")
    if is_prepared(folder):
        raise UserError(
            f"{folder}: holds prepared data already; choose another --out, or delete the folder"
        )
