"""DeepLabCut tables (csv and h5) and the tables of Lightning Pose, which have the same layout.

The header rows are read apart from the numbers. Read together, a first frame without any point
would be taken for a row of index names, and every label would shift by one frame.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.importers.detect import IMAGE_SUFFIXES
from behaviorzoo.importers.movement_library import movement_io, tracks_from_movement
from behaviorzoo.importers.pandas_hdf5 import read_pandas_hdf5
from behaviorzoo.importers.tracks import Tracks

LEVELS = ("scorer", "individuals", "bodyparts", "coords")
COORDS = ("x", "y", "z", "likelihood")
SOFTWARE = {"deeplabcut": "DeepLabCut", "lightningpose": "LightningPose"}
# Name that movement gives to the one animal of a table without the row "individuals".
ONE_INDIVIDUAL = "individual_0"


def read_deeplabcut(path: Path, where: str, source: str = "deeplabcut") -> Tracks:
    """Read a table of tracks through ``movement``.

    Args:
        path: A csv file with the header rows ``scorer[, individuals], bodyparts, coords``, or
            an h5 file written by pandas with the same column levels.
        where: Name for the messages.
        source: ``deeplabcut`` or ``lightningpose``.

    Returns:
        The tracks; the first column of the file holds the frame numbers.

    Raises:
        UserError: Not such a table, hand-labelled images, truncated, or no frame numbers.
    """
    table = _read_csv(path, where) if path.suffix == ".csv" else read_pandas_hdf5(path, where)
    frames = _frame_numbers(table.index, where)
    table, notes = _regular(table, where)
    software = SOFTWARE[source]
    with movement_io(where) as io:
        ds = io.load_poses.from_dlc_style_df(table, source_software=software)
    tracks = tracks_from_movement(ds, frames, software, where)
    tracks.notes.extend(notes)
    return tracks


def _read_csv(path: Path, where: str) -> pd.DataFrame:
    names, columns = _read_header(path, where)
    # The columns without a coordinate are the index: one, or three for labelled images.
    n_index = sum(1 for column in columns if not column[-1])
    width = len(columns)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            table = pd.read_csv(path, header=None, skiprows=len(names), encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{where}: the table has a header but no frame (zero rows)") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: the table cannot be read ({_one_line(error)})") from error
    if table.shape[1] != width:
        raise UserError(f"{where}: the header has {width} columns, the first row {table.shape[1]}")
    index = table.iloc[:, :n_index].astype(object).where(lambda cell: cell.notna(), "")
    if n_index > 1 or table[0].dtype == object or isinstance(table[0].dtype, pd.StringDtype):
        _refuse_labelled_images(["/".join(map(str, row)) for row in index.to_numpy()], where)
    _refuse_cut_line(path, width, where)
    numbers = table.iloc[:, n_index:]
    for column, dtype in numbers.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype):
            _refuse_text(cast("pd.Series", numbers[column]), columns[column], len(names), where)
    numbers = numbers.astype(np.float64)
    numbers.index = pd.Index(table[0])
    numbers.columns = pd.MultiIndex.from_tuples(columns[n_index:], names=names)
    return numbers


def _read_header(path: Path, where: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Names of the header rows and, per column of the file, its names in these rows."""
    names, rows = [], []
    with path.open(newline="", encoding="utf-8-sig") as handle:
        for row in csv.reader(handle):
            if not row or row[0].strip() not in LEVELS:
                break
            names.append(row[0].strip())
            rows.append([cell.strip() for cell in row])
    if names[-2:] != ["bodyparts", "coords"]:
        raise UserError(
            f"{where}: the header rows are {', '.join(names) or 'missing'}; expected scorer"
            "[, individuals], bodyparts, coords"
        )
    if len({len(row) for row in rows}) > 1:
        lengths = ", ".join(str(len(row)) for row in rows)
        raise UserError(f"{where}: the header rows have different lengths ({lengths} columns)")
    columns = list(zip(*rows, strict=True))
    # The first column holds the names of the rows themselves.
    columns[0] = ("",) * len(names)
    return names, columns


def _regular(table: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Every individual with every key point and the same coordinates, in the order of the file.

    ``movement`` takes the columns for a full grid. Tables of several animals need not be one:
    DeepLabCut puts key points without an animal under an individual called "single".
    """
    notes: list[str] = []
    levels = [
        name for name in ("individuals", "bodyparts", "coords") if name in table.columns.names
    ]
    if levels[-2:] != ["bodyparts", "coords"]:
        found = ", ".join(map(str, table.columns.names))
        raise UserError(f"{where}: the columns have the levels {found}; expected bodyparts, coords")
    columns = pd.MultiIndex.from_arrays([table.columns.get_level_values(name) for name in levels])
    table = table.set_axis(columns, axis=1)
    if columns.has_duplicates:
        twice = columns[columns.duplicated()][0]
        raise UserError(f"{where}: the column {'/'.join(map(str, twice))} occurs twice")
    unique = [list(dict.fromkeys(columns.get_level_values(name))) for name in levels]
    others = [coord for coord in unique[-1] if coord not in COORDS]
    unique[-1] = [coord for coord in COORDS if coord in unique[-1]]
    if unique[-1][:2] != ["x", "y"]:
        raise UserError(f"{where}: the coordinates are {', '.join(unique[-1] + others)}; no x, y")
    if others:
        notes.append(f"columns other than x, y, z, likelihood were left out: {', '.join(others)}")
    grid = pd.MultiIndex.from_product(unique, names=levels)
    absent = grid.difference(columns)
    if len(absent):
        points = list(dict.fromkeys("/".join(map(str, column[:-1])) for column in absent))
        notes.append(f"not in the file, all missing: {', '.join(points[:10])}")
    return table.reindex(columns=grid), notes


def _frame_numbers(index: pd.Index, where: str) -> np.ndarray:
    if len(index) == 0:
        raise UserError(f"{where}: the table has a header but no frame (zero rows)")
    if not pd.api.types.is_numeric_dtype(index.dtype):
        _refuse_labelled_images([str(name) for name in index], where)
    numbers = index.to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers) | (np.round(numbers) != numbers))
    if wrong.size:
        raise UserError(
            f"{where}: row {wrong[0] + 1} after the header has no whole frame number "
            f"({index[wrong[0]]!s})"
        )
    return numbers.astype(np.int64)


def _refuse_labelled_images(names: list[str], where: str) -> None:
    pictures = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    if pictures:
        raise UserError(
            f"{where}: these are {len(names)} hand-labelled images (such as {pictures[0]!r}), not "
            "a track of consecutive frames; import the tracks that the trained network wrote"
        )
    words = [name for name in names if not name.replace(".", "", 1).isdigit()]
    raise UserError(f"{where}: the first column holds {words[0]!r}, expected frame numbers")


def _refuse_text(values: pd.Series, column: tuple[str, ...], n_header: int, where: str) -> None:
    numbers = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)
    row = int(np.argmax(np.isnan(numbers) & values.notna().to_numpy(dtype=bool)))
    raise UserError(
        f"{where}: line {n_header + row + 1}, column {'/'.join(column[1:])}: "
        f"{str(values.iloc[row])!r} is not a number"
    )


def _refuse_cut_line(path: Path, width: int, where: str) -> None:
    """A file that was cut while it was copied ends within a row, which pandas fills up."""
    with path.open("rb") as handle:
        handle.seek(0, 2)
        handle.seek(max(0, handle.tell() - 1_000_000))
        last = handle.read().rstrip(b"\r\n").rsplit(b"\n", 1)[-1]
    cells = last.count(b",") + 1
    if cells != width and b'"' not in last:
        raise UserError(
            f"{where}: the last line has {cells} of {width} cells; the file looks truncated, "
            "copy it again"
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
