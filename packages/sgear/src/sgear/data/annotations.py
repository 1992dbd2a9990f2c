"""Annotation files of EPIC-Kitchens and RULSTM, as one table with times in seconds.

Read are the official CSV files (plain or gzipped), the same tables as pickled pandas frames
(without running what is in them), and the CSV files of RULSTM, which have no header.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from sgear.data.classes import UNLABELLED

RULSTM_COLUMNS = (
    "uid",
    "video_id",
    "start_frame",
    "end_frame",
    "verb_class",
    "noun_class",
    "action",
)
RULSTM_FPS = 30.0
_TIMES = ("start_timestamp", "stop_timestamp")
_TEXTS: Any = dict.fromkeys(("uid", "narration_id", "video_id", "participant_id"), str)


def read_annotations(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Read annotation files and join them.

    Args:
        paths: CSV, gzipped CSV, or pickle; in order.

    Returns:
        A row per action: ``uid`` (that of the file; where a file has none, 1, 2, ... over all
        rows), ``video_id``, ``participant_id``, ``start`` and ``end`` in seconds,
        ``verb_class`` and ``noun_class`` (int64, -1 where the file has none), and the other columns
        of the files. The text of a noun ``a:b`` becomes ``b a``, that of a verb ``a-b`` ``a b``.

    Raises:
        UserError: A file that cannot be read or does not say video and times; names it.
    """
    if not paths:
        raise UserError("no annotation files: give annotation_path")
    tables = [_normal(read_one(path), Path(path)) for path in paths]
    table = pd.concat(tables, ignore_index=True)
    if any("uid" not in part for part in tables):
        table["uid"] = np.arange(1, len(table) + 1)
    if table.empty:
        raise UserError(f"{', '.join(map(str, paths))}: no annotated action in it")
    return table


def read_one(path: str | Path) -> pd.DataFrame:
    """A file as it is, its index (if named) as a column."""
    path = existing_file(path, "annotation")
    if path.suffix in (".pkl", ".pickle"):
        from sgear.data.pickled_frames import read_pickled_frame

        return read_pickled_frame(path)
    try:
        first = pd.read_csv(path, nrows=0)
        if {"video_id", "video"} & set(first.columns):
            table = pd.read_csv(path, dtype=_TEXTS)
            return _numbers_if_possible(table, "uid")
        if len(first.columns) != len(RULSTM_COLUMNS):
            raise UserError(
                f"{path}: {len(first.columns)} columns without a header; RULSTM's lists have "
                f"{len(RULSTM_COLUMNS)} ({', '.join(RULSTM_COLUMNS)}), others need a header with "
                "video_id"
            )
        table = pd.read_csv(path, header=None, names=list(RULSTM_COLUMNS), dtype={"video_id": str})
    except (pd.errors.ParserError, UnicodeDecodeError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: not a CSV table ({error})") from error
    table["video_id"] = table["video_id"].str.strip()
    return table


def seconds(times: Any, path: Path) -> np.ndarray:
    """Seconds of ``HH:MM:SS.ff`` texts (or numbers of seconds), to the microsecond: float64 (n,).

    Args:
        times: A column of a table.
        path: Its file, for messages.

    Raises:
        UserError: A row that is no time; names file and row.
    """
    values = np.empty(len(times))
    for row, time in enumerate(times):
        try:
            values[row] = _seconds(str(time))
        except (ValueError, OverflowError) as error:
            raise UserError(f"{path}: row {row + 1}: {time!r} is no time (HH:MM:SS.ff)") from error
    return values


def _seconds(text: str) -> float:
    *whole, rest = text.split(":")
    if len(whole) > 2:
        raise ValueError(text)
    minutes = 0
    for part in whole:
        minutes = 60 * minutes + int(part)
    return (60_000_000 * minutes + round(float(rest) * 1e6)) / 1e6


def _normal(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns that every file has under one name."""
    if "video_id" not in table:
        raise UserError(f"{path}: no column video_id; its columns are {', '.join(table)}")
    table = table.copy()
    if set(_TIMES) <= set(table):
        table["start"], table["end"] = (seconds(table[name], path) for name in _TIMES)
    elif {"start_frame", "end_frame"} <= set(table):
        for name, source in (("start", "start_frame"), ("end", "end_frame")):
            table[name] = table[source].astype(np.float64) / RULSTM_FPS
    else:
        raise UserError(f"{path}: no {_TIMES[0]} and {_TIMES[1]} (or start_frame, end_frame)")
    if "participant_id" not in table:
        table["participant_id"] = table["video_id"].str.split("_").str[0]
    for kind in ("verb_class", "noun_class"):
        given: Any = table[kind] if kind in table else np.full(len(table), np.nan)
        numbers = np.asarray(pd.to_numeric(given, errors="coerce"), dtype=np.float64)
        table[kind] = np.nan_to_num(numbers, nan=UNLABELLED).astype(np.int64)
    if "verb" in table:
        table["verb"] = table["verb"].astype(str).str.replace("-", " ")
    if "noun" in table:
        table["noun"] = [" ".join(reversed(str(noun).split(":"))) for noun in table["noun"]]
    backwards = np.asarray(table["end"] < table["start"])
    if backwards.any():
        row = int(np.argmax(backwards))
        raise UserError(
            f"{path}: row {row + 1} ends before it starts ({backwards.sum()} such rows)"
        )
    return table


def _numbers_if_possible(table: pd.DataFrame, column: str) -> pd.DataFrame:
    if column in table and table[column].str.fullmatch(r"\d+").all():
        table[column] = table[column].astype(np.int64)
    return table
