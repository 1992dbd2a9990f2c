"""Clips, splits and tasks of a benchmark as three small files in a folder.

``frame_number_map.json``: clip -> [start, stop). ``split.json``: ``SubmissionTrain``,
``publicTest`` and ``privateTest``, lists of clips. ``task_info.json``: ``seeds``,
``task_id_list`` and ``sequence_level_tasks``. A file that is absent is replaced by the rule of
the benchmark, where it has one. :mod:`hieras_eval.preparing` makes such a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.mabe import frame_ranges, required

CLIPS_FILE = "frame_number_map.json"
SPLIT_FILE = "split.json"
TASKS_FILE = "task_info.json"
SPLIT_KEYS = ("SubmissionTrain", "publicTest", "privateTest")


@dataclass(frozen=True)
class Metadata:
    """What a metadata folder says; None = it does not.

    Attributes:
        folder: Where it was read.
        clips: Clip -> rows [start, stop).
        splits: Clips of training, public test and private test.
        tasks: Task names in order.
        sequence_level: Those of them (or other names) that describe whole clips.
        seeds: Seeds of the inner splits.
    """

    folder: Path | None = None
    clips: dict[str, tuple[int, int]] | None = None
    splits: tuple[tuple[str, ...], ...] | None = None
    tasks: tuple[str, ...] | None = None
    sequence_level: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None


def read_metadata(folder: str | Path) -> Metadata:
    """Read a metadata folder.

    Raises:
        UserError: No such folder, none of the files in it, or a file that is not what it should
            be.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such metadata folder; make one with `hieras-eval prepare`")
    present = {
        name: read_json(folder / name)
        for name in (CLIPS_FILE, SPLIT_FILE, TASKS_FILE)
        if (folder / name).exists()
    }
    if not present:
        raise UserError(
            f"{folder}: holds none of {CLIPS_FILE}, {SPLIT_FILE} and {TASKS_FILE}; "
            "make them with `hieras-eval prepare`"
        )
    clips = splits = tasks = seeds = None
    sequence_level: tuple[str, ...] = ()
    if CLIPS_FILE in present:
        clips = frame_ranges(present[CLIPS_FILE], folder / CLIPS_FILE)
    if SPLIT_FILE in present:
        splits = tuple(_names(present[SPLIT_FILE], key, folder / SPLIT_FILE) for key in SPLIT_KEYS)
    if TASKS_FILE in present:
        info, path = present[TASKS_FILE], folder / TASKS_FILE
        tasks = _names(info, "task_id_list", path)
        sequence_level = _names(info, "sequence_level_tasks", path)
        seeds = _seeds(info, path)
    return Metadata(folder, clips, splits, tasks, sequence_level, seeds)


def read_json(path: Path) -> Any:
    """Contents of a json file.

    Raises:
        UserError: Not a json file.
    """
    try:
        return json.loads(existing_file(path, "json file").read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a json file ({error}); write it again") from error


def _names(contents: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    entries = required(contents, key, path)
    if not isinstance(entries, list):
        raise UserError(f"{path}: {key!r} is a {type(entries).__name__}, expected a list of names")
    return tuple(map(str, entries))


def _seeds(contents: Mapping[str, Any], path: Path) -> tuple[int, ...]:
    entries = required(contents, "seeds", path)
    if not isinstance(entries, list) or not all(
        isinstance(seed, int) and 0 <= seed < 2**32 for seed in entries
    ):
        raise UserError(f"{path}: 'seeds' is {entries!r}, expected a list of whole numbers >= 0")
    return tuple(entries)
