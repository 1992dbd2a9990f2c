"""Labels in benchmark dictionaries (``.npy`` with a pickled dictionary), read without running it.

Three layouts are known:

* benchmark labels: ``frame_number_map`` {clip: (start, stop)}, ``label_array`` (tasks, frames),
  ``vocabulary`` (task names), ``task_type`` per task (MABe22, Shot7M2, hBABEL);
* sequences with ``annotations`` (tasks, frames) and ``vocabulary`` (MABe22 training data);
* annotators with sequences, ``annotations`` (frames,) and ``metadata["vocab"]`` (CalMS21).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.annotations.annotation import Annotation, rows
from behaviorzoo.errors import UserError
from behaviorzoo.labels import from_dense

TASK = "behavior"


def read_dictionary(path: Path) -> list[Annotation]:
    """Read the labels of all clips.

    A task of zeros and ones gets the labels ``no`` and ``yes``. Other values become their own
    labels; NaN is unlabelled (a negative value too, where all are whole numbers). A value
    that is constant over a clip and not 0 or 1 is a label of the whole clip.

    Args:
        path: The ``.npy`` file.

    Returns:
        One annotation per clip.

    Raises:
        UserError: Not such a file, another layout, or a continuous value per frame.
    """
    from behaviorzoo.mabe import load_dictionary

    dictionary = load_dictionary(path)
    if "label_array" in dictionary:
        clips = _benchmark_clips(dictionary, path)
    elif isinstance(dictionary.get("sequences"), Mapping):
        clips = _sequence_clips(dictionary, path)
    else:
        clips = _annotator_clips(dictionary, path)
    annotations = [_annotation(name, tasks, values, path) for name, tasks, values in clips]
    if not any(len(annotation.table) for annotation in annotations):
        keys = ", ".join(map(str, list(dictionary)[:6]))
        raise UserError(f"{path}: no labels in this dictionary; its keys are {keys}")
    return annotations


_Clip = tuple[str, list[str] | Mapping[int, str], np.ndarray]


def _benchmark_clips(dictionary: dict[Any, Any], path: Path) -> Iterator[_Clip]:
    values = np.asarray(dictionary["label_array"])
    tasks = [str(name) for name in dictionary.get("vocabulary", [])]
    if values.ndim != 2 or len(tasks) != len(values):
        raise UserError(
            f"{path}: label_array has the shape {values.shape} and vocabulary {len(tasks)} names; "
            "expected (tasks, frames) and one name per task"
        )
    frame_map = dictionary.get("frame_number_map")
    if not isinstance(frame_map, Mapping):
        raise UserError(f"{path}: frame_number_map is missing beside label_array")
    for name, bounds in frame_map.items():
        start, stop = int(bounds[0]), int(bounds[1])
        if not 0 <= start <= stop <= values.shape[1]:
            raise UserError(
                f"{path}: clip {name!r} has frames [{start}, {stop}) of {values.shape[1]}"
            )
        yield str(name), tasks, values[:, start:stop]


def _sequence_clips(dictionary: dict[Any, Any], path: Path) -> Iterator[_Clip]:
    tasks = [str(name) for name in dictionary.get("vocabulary", [])]
    for name, sequence in dictionary["sequences"].items():
        if not isinstance(sequence, Mapping) or "annotations" not in sequence:
            continue
        values = np.atleast_2d(np.asarray(sequence["annotations"]))
        if len(tasks) != len(values):
            raise UserError(
                f"{path}: clip {name!r} has annotations {values.shape} but the vocabulary has "
                f"{len(tasks)} names"
            )
        yield str(name), tasks, values


def _annotator_clips(dictionary: dict[Any, Any], path: Path) -> Iterator[_Clip]:
    for sequences in dictionary.values():
        for name, sequence in sequences.items() if isinstance(sequences, Mapping) else ():
            if not isinstance(sequence, Mapping) or "annotations" not in sequence:
                continue
            vocabulary = sequence.get("metadata", {}).get("vocab", {})
            if not isinstance(vocabulary, Mapping):
                vocabulary = {label: code for code, label in enumerate(vocabulary)}
            names = {int(code): str(label) for label, code in vocabulary.items()}
            # The name of a sequence is a path such as task1/train/mouse001.
            yield str(name).replace("/", "_"), names, np.asarray(sequence["annotations"])


def _annotation(
    name: str, tasks: list[str] | Mapping[int, str], values: np.ndarray, path: Path
) -> Annotation:
    if isinstance(tasks, Mapping):
        codes = values.astype(np.int64).ravel()
        names = [tasks.get(code, str(code)) for code in range(int(codes.max(initial=-1)) + 1)]
        table = from_dense(codes, name, TASK, 0, names).drop(columns="recording")
        return Annotation(name, table, extent=(0, len(codes)))
    tables = [_task_rows(task, row, name, path) for task, row in zip(tasks, values, strict=True)]
    table = pd.concat(tables, ignore_index=True) if tables else rows("", [], [], [])
    return Annotation(name, table, extent=(0, values.shape[1]))


def _task_rows(task: str, values: np.ndarray, name: str, path: Path) -> pd.DataFrame:
    values = values.astype(np.float64)
    known = np.isfinite(values)
    unique = np.unique(values[known])
    whole = bool((np.round(unique) == unique).all())
    if whole and set(unique) <= {-1.0, 0.0, 1.0}:
        codes = np.where(known, values, -1).astype(np.int64)
        return from_dense(codes, name, task, 0, ["no", "yes"]).drop(columns="recording")
    if unique.size == 1:
        return rows(task, [pd.NA], [pd.NA], [f"{unique[0]:g}"])
    if not whole:
        raise UserError(
            f"{path}: task {task!r} of clip {name!r} is a continuous value per frame; a label "
            "table holds classes only"
        )
    codes = np.where(known & (values >= 0), np.searchsorted(unique, np.where(known, values, 0)), -1)
    return from_dense(codes, name, task, 0, [f"{v:g}" for v in unique]).drop(columns="recording")
