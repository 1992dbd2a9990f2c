"""Tables that pandas wrote to HDF5, read without running what the file says.

``pandas.read_hdf`` unpickles column names and attributes, which can run code. Here the numbers
are read as plain arrays, and pickled names pass through an interpreter that knows text, tuples
and lists only.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pandas as pd

from behaviorzoo import restricted_pickle
from behaviorzoo.errors import UserError


def read_pandas_hdf5(path: Path, where: str) -> pd.DataFrame:
    """Read the one data frame in an HDF5 file written by ``DataFrame.to_hdf``.

    Args:
        path: The file; both formats of pandas (``fixed`` and ``table``) are read.
        where: Name for the messages.

    Returns:
        Numbers with a ``MultiIndex`` of columns; the index as stored.

    Raises:
        UserError: Damaged, no data frame or several, or a layout that is not numbers.
    """
    try:
        with h5py.File(path) as file:
            groups = [str(name) for name in file if "pandas_type" in file[name].attrs]
            if len(groups) != 1:
                found = ", ".join(groups) or "none"
                raise UserError(f"{where}: expected one data frame in the file, found {found}")
            group = cast("h5py.Group", file[groups[0]])
            return _read_table(group) if "table" in group else _read_fixed(group)
    except UserError:
        raise
    except Exception as error:
        # Whatever a stranger's file makes h5py or the interpreter of names stumble over.
        detail = " ".join(str(error).split())[:200]
        raise UserError(
            f"{where}: the data frame in this file cannot be read ({detail}); "
            "export the tracks as csv"
        ) from error


def _read_fixed(group: h5py.Group) -> pd.DataFrame:
    """Format ``fixed``: levels and codes of the columns, blocks of values."""
    columns = _level_index(group, "axis0")
    index = _array(group, "axis1")
    blocks = []
    for name in map(str, group):
        if re.fullmatch(r"block\d+_values", name):
            values = _array(group, name)
            if values.dtype.kind not in "fiu":
                raise ValueError(f"{name} holds {values.dtype}, expected numbers")
            items = _level_index(group, name.replace("values", "items"))
            blocks.append(
                pd.DataFrame(values.astype(np.float64), index=_decoded(index), columns=items)
            )
    return cast("pd.DataFrame", pd.concat(blocks, axis=1)[list(columns)].set_axis(columns, axis=1))


def _level_index(group: h5py.Group, name: str) -> pd.MultiIndex:
    levels, codes, names = [], [], []
    while f"{name}_level{len(levels)}" in group:
        level = group[f"{name}_level{len(levels)}"]
        names.append(_text(level.attrs.get("name", f"level_{len(levels)}")))
        codes.append(_array(group, f"{name}_label{len(levels)}"))
        levels.append(_decoded(cast("Any", level)[()]))
    return pd.MultiIndex(levels=levels, codes=codes, names=names)


def _read_table(group: h5py.Group) -> pd.DataFrame:
    """Format ``table``: one record per row; the names of the columns are a pickled list."""
    table = cast("h5py.Dataset", group["table"])
    records = table[()]
    blocks = []
    for name in sorted(records.dtype.names):
        if name.startswith("values_block_"):
            columns = _restricted(table.attrs[f"{name}_kind"])
            blocks.append(
                pd.DataFrame(
                    records[name].reshape(len(records), -1).astype(np.float64),
                    index=_decoded(records["index"]),
                    columns=pd.MultiIndex.from_tuples(columns),
                )
            )
    # Both axis entries are pickled: [(1, [column, ...])] and {1: {"names": [level, ...]}, ...}
    order = [tuple(column) for column in _restricted(group.attrs["non_index_axes"])[0][1]]
    joined = cast("pd.DataFrame", pd.concat(blocks, axis=1)[order])
    names = _restricted(group.attrs["info"])[1]["names"]
    return joined.set_axis(pd.MultiIndex.from_tuples(order, names=[str(n) for n in names]), axis=1)


def _restricted(value: Any) -> Any:
    return restricted_pickle.load(io.BytesIO(bytes(value)))


def _array(group: h5py.Group, name: str) -> np.ndarray:
    return np.asarray(cast("h5py.Dataset", group[name])[()])


def _decoded(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "SO":
        return np.array([_text(value) for value in values], dtype=object)
    return values


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
