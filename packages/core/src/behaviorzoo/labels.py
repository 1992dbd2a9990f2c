"""Annotations as one tidy table, and as dense codes per frame.

A row says: in ``recording``, for ``task``, the frames from ``start`` (inclusive) to ``stop``
(exclusive) bear ``label``. Frames are those of the source. A label of a whole recording has an
empty ``start`` and ``stop``. Frames without a row are unlabelled, which is not a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file

COLUMNS = ("recording", "task", "start", "stop", "label")
TEXT_COLUMNS = ("recording", "task", "label")
UNLABELLED = -1


def read_labels(path: str | Path) -> pd.DataFrame:
    """Read a label table.

    Args:
        path: A ``.csv`` (or ``.csv.gz``) or ``.parquet`` file with the columns ``recording,
            task, start, stop, label`` in any order; further columns are kept.

    Returns:
        The table: text columns as strings (a recording ``07`` stays ``07``), ``start`` and
        ``stop`` as nullable integers.

    Raises:
        UserError: Not readable, a column is missing, or a value is wrong; with file, row
            and column.
    """
    path = existing_file(path, "label table")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            # Everything as text: "NA", "None" and "007" are names that a label may have.
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except ImportError as error:
        raise _no_parquet(path) from error
    except (ValueError, OSError, EOFError) as error:
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as a label table ({detail})") from error
    return validate_labels(table, str(path))


def write_labels(labels: pd.DataFrame, path: str | Path) -> None:
    """Write a label table as csv or parquet, chosen by the suffix.

    Args:
        labels: The table.
        path: Target, ``.csv`` or ``.parquet``.

    Raises:
        UserError: A value is wrong, the suffix is neither, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(
            f"{path}: a label table is written as .csv or .parquet, not {path.suffix!r}"
        )
    labels = validate_labels(labels, str(path))
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            try:
                labels.to_parquet(temporary, index=False)
            except ImportError as error:
                raise _no_parquet(path) from error
        else:
            labels.to_csv(temporary, index=False)


def validate_labels(labels: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check a label table and bring its columns into their types and order.

    Args:
        labels: A table with at least the five columns.
        where: File name for the messages. Rows are counted as lines of a csv (header is 1).

    Returns:
        A new table, the five columns first.

    Raises:
        UserError: A column is missing, a name is empty, a frame is no whole number, only one of
            ``start`` and ``stop`` is given, or ``stop`` is not after ``start``.
    """
    absent = [column for column in COLUMNS if column not in labels.columns]
    if absent:
        present = [str(column) for column in labels.columns]
        raise UserError(
            f"{where}: the column {absent[0]!r} is missing from the label table; it needs "
            f"{', '.join(COLUMNS)} and has {', '.join(present) or 'none'}"
        )
    out = labels.reset_index(drop=True).copy()
    for column in TEXT_COLUMNS:
        empty = out[column].isna().to_numpy()
        out[column] = out[column].astype(str).str.strip()
        _refuse(empty | (out[column] == "").to_numpy(), where, column, "is empty", out)
    for column in ("start", "stop"):
        out[column] = _frames(cast("pd.Series", out[column]), where, column)
    start, stop = out["start"], out["stop"]
    _refuse((start.isna() & stop.notna()).to_numpy(), where, "start", "is empty, stop is not", out)
    _refuse((stop.isna() & start.notna()).to_numpy(), where, "stop", "is empty, start is not", out)
    backwards = (stop <= start).fillna(False).to_numpy(dtype=bool)
    _refuse(backwards, where, "stop", "is not after start (stop is exclusive)", out)
    others = [column for column in out.columns if column not in COLUMNS]
    return cast("pd.DataFrame", out[[*COLUMNS, *others]])


def classes_of(labels: pd.DataFrame, task: str) -> list[str]:
    """Sorted names of the classes of a task.

    Raises:
        UserError: No such task; it names the nearest.
    """
    names = set(labels["label"].to_numpy()[_equal(labels, "task", task)])
    if not names:
        raise UserError(f"the labels have no task {task!r}; {suggest(task, labels['task'])}")
    return sorted(names)


def dense_labels(
    labels: pd.DataFrame,
    recording: str,
    task: str,
    first_frame: int,
    n_frames: int,
    classes: Sequence[str] | None = None,
    missing: int = UNLABELLED,
) -> tuple[np.ndarray, list[str]]:
    """Codes per frame of one task in one recording.

    Rows outside the frames are cut off. A row without start and stop covers all frames.

    Args:
        labels: A label table.
        recording: Name of the recording.
        task: Name of the task.
        first_frame: Source frame number of the first code.
        n_frames: Number of codes.
        classes: Names in the order of their codes; default: all of the task, sorted.
        missing: Code of an unlabelled frame.

    Returns:
        Codes int32 (n_frames,) and the class names.

    Raises:
        UserError: No such task, a label that is not in ``classes``, or two rows that overlap.
    """
    names = list(classes) if classes is not None else classes_of(labels, task)
    codes = np.full(n_frames, missing, dtype=np.int32)
    rows = labels.loc[_equal(labels, "task", task) & _equal(labels, "recording", recording)]
    if rows.empty:
        return codes, names
    row_labels = rows["label"].to_numpy()
    code = pd.Index(names).get_indexer(row_labels)
    if (code < 0).any():
        unknown = row_labels[code.argmin()]
        raise UserError(
            f"recording {recording!r}, task {task!r}: class {unknown!r} is not one of the "
            f"classes; {suggest(unknown, names)}"
        )
    overlap = overlaps(rows)
    if len(overlap):
        row = overlap.iloc[0]
        raise UserError(
            f"recording {recording!r}, task {task!r}: the labels {row['label']!r} and "
            f"{row['other']!r} overlap at frame {row['start']}; give each its own task "
            "(behaviorzoo.labels.split_overlapping)"
        )
    start = _edges(rows, "start", empty=first_frame) - first_frame
    stop = _edges(rows, "stop", empty=first_frame + n_frames) - first_frame
    start, stop = np.clip(start, 0, n_frames), np.clip(stop, 0, n_frames)
    frames, owner = _expand_intervals(start, stop)
    codes[frames] = code[owner]
    return codes, names


def from_dense(
    codes: np.ndarray | Sequence[str | None],
    recording: str,
    task: str,
    first_frame: int = 0,
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Label table of one task from a value per frame (run-length encoding).

    Args:
        codes: Integer codes (n,), negative = unlabelled; or names (n,), None or "" = unlabelled.
        recording: Name of the recording.
        task: Name of the task.
        first_frame: Source frame number of the first value.
        classes: Names of the codes; needed for integer codes.

    Returns:
        A label table, in the order of time.

    Raises:
        UserError: Integer codes without classes, or a code beyond them.
    """
    values = np.asarray(codes)
    if not np.issubdtype(values.dtype, np.integer):
        index, uniques = pd.factorize(pd.Series(values, dtype=object).replace("", None))
        values, classes = index, [str(name) for name in uniques]
    elif classes is None:
        raise UserError(f"task {task!r}: integer codes need the names of the classes")
    if values.size and values.max() >= len(classes):
        raise UserError(
            f"recording {recording!r}, task {task!r}: code {values.max()} is beyond the "
            f"{len(classes)} classes"
        )
    edges = np.flatnonzero(np.diff(values)) + 1
    start = np.concatenate([[0], edges]).astype(np.int64)[: values.size]
    stop = np.concatenate([edges, [values.size]]).astype(np.int64)[: values.size]
    labelled = values[start] >= 0
    start, stop = start[labelled], stop[labelled]
    return pd.DataFrame(
        {
            "recording": str(recording),
            "task": str(task),
            "start": pd.array(start + first_frame, dtype="Int64"),
            "stop": pd.array(stop + first_frame, dtype="Int64"),
            "label": np.asarray(classes, dtype=object)[values[start]],
        }
    ).astype(dict.fromkeys(TEXT_COLUMNS, str))


def overlaps(labels: pd.DataFrame) -> pd.DataFrame:
    """Rows that begin before an earlier row of the same recording and task has ended.

    Args:
        labels: A label table.

    Returns:
        The offending rows with the further column ``other``: the label of the row that
        is still running.
    """
    rows = labels.copy()
    # A label of the whole recording runs from before every frame to after every frame.
    rows["from"] = rows["start"].astype("Float64").fillna(-np.inf).to_numpy(dtype=float)
    rows["to"] = rows["stop"].astype("Float64").fillna(np.inf).to_numpy(dtype=float)
    rows = rows.sort_values(["recording", "task", "from"], kind="stable")
    keys = [rows["recording"], rows["task"]]
    # The furthest end so far, and which row it belongs to, before each row.
    furthest = rows.groupby(keys, sort=False)["to"].cummax()
    before = furthest.groupby(keys, sort=False).shift(fill_value=-np.inf)
    owner = rows["label"].where(rows["to"] >= furthest).groupby(keys, sort=False).ffill()
    rows["other"] = owner.groupby(keys, sort=False).shift()
    late = (rows["from"] < before) | (np.isneginf(rows["from"]) & rows["other"].notna())
    return rows.loc[late.to_numpy()].drop(columns=["from", "to"])


def split_overlapping(
    labels: pd.DataFrame,
    negative: str | None = "no",
    extents: Mapping[str, tuple[int, int]] | None = None,
) -> pd.DataFrame:
    """Turn each task into one yes/no task per class, so that nothing overlaps.

    A class of the task that never occurs in a recording is ``negative`` throughout it.

    Args:
        labels: A label table with intervals.
        negative: Label of the frames outside the intervals; None leaves them unlabelled.
        extents: Annotated frames (first, stop) per recording; a recording without any row is
            ``negative`` throughout. Default: from frame 0 to the last labelled frame of
            each recording in the table.

    Returns:
        A label table whose tasks bear the names of the classes, with the labels ``yes`` and
        ``negative``.
    """
    names = [negative or "no", "yes"]
    extents = dict(extents) if extents is not None else _extents(labels)
    parts = []
    for task in dict.fromkeys(labels["task"]):
        classes = classes_of(labels, task)
        for recording, (first, stop) in extents.items():
            rows = labels.loc[_equal(labels, "task", task) & _equal(labels, "recording", recording)]
            edges = (_edges(rows, column, empty=0) for column in ("start", "stop"))
            begin, end = (np.clip(edge, first, stop) - first for edge in edges)
            for name in classes:
                own = _equal(rows, "label", name)
                codes = np.full(stop - first, UNLABELLED if negative is None else 0)
                codes[_expand_intervals(begin[own], end[own])[0]] = 1
                parts.append(from_dense(codes, recording, name, first, names))
    return pd.concat(parts, ignore_index=True) if parts else labels.copy()


def _extents(labels: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """From frame 0 (or the first labelled one, if below) to the last labelled frame."""
    out = {}
    for recording in dict.fromkeys(labels["recording"]):
        rows = labels.loc[_equal(labels, "recording", recording)]
        start, stop = _edges(rows, "start", empty=0), _edges(rows, "stop", empty=0)
        out[recording] = (min(0, int(start.min())), int(stop.max()))
    return out


def _expand_intervals(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All frames of all intervals, and the interval each belongs to."""
    lengths = np.maximum(stop - start, 0)
    owner = np.repeat(np.arange(len(start)), lengths)
    offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return start[owner] + offset, owner


def _equal(labels: pd.DataFrame, column: str, name: str) -> np.ndarray:
    return np.asarray(labels[column] == name, dtype=bool)


def _edges(labels: pd.DataFrame, column: str, empty: int) -> np.ndarray:
    """The frames of a column as int64, with ``empty`` where there is none."""
    return pd.array(labels[column].to_numpy(), dtype="Int64").to_numpy(
        dtype=np.int64, na_value=empty
    )


def _frames(values: pd.Series, where: str, column: str) -> pd.Series:
    """The column as nullable integers; "12.0" is accepted, "12.5" and "x" are not."""
    text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    numbers = np.asarray(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
    empty = (text == "").to_numpy()
    wrong = ~empty & (~np.isfinite(numbers) | (np.round(numbers) != numbers))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{where}: line {row + 2}, column {column!r}: {text.iloc[row]!r} is not a whole "
            "frame number"
        )
    whole = np.where(empty, 0, numbers).astype(np.int64)
    return pd.Series(pd.arrays.IntegerArray(whole, empty), index=values.index, name=column)


def _no_parquet(path: Path) -> UserError:
    return UserError(f"{path}: parquet needs pyarrow (`pip install pyarrow`); or use a .csv")


def _refuse(wrong: np.ndarray, where: str, column: str, why: str, table: pd.DataFrame) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = ", ".join(f"{name}={table[name].iloc[row]}" for name in COLUMNS)
        raise UserError(f"{where}: line {row + 2}, column {column!r} {why} ({shown})")
