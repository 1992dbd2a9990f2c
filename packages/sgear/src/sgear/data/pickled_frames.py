"""Tables out of pickled pandas frames, of old and new pandas, without running the pickle.

The annotations of EPIC-Kitchens are published as such files. A pickle is a program that could do
anything when it is run; here it is only read: :mod:`behaviorzoo.restricted_pickle` writes down what
the file wants pandas to do, and the table is put together from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo import restricted_pickle
from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.pickled_values import (
    DamagedPickleError,
    ForbiddenGlobalError,
    Global,
    Payload,
    Record,
)

_NAMES = """
    pandas.core.frame.DataFrame pandas.DataFrame
    pandas.core.internals.managers.BlockManager pandas.core.internals.BlockManager
    pandas._libs.internals.BlockManager
    pandas._libs.internals._unpickle_block pandas.core.internals.blocks.new_block
    pandas.core.indexes.base._new_Index pandas.indexes.base._new_Index
    pandas.core.indexes.base.Index pandas.indexes.base.Index pandas.Index
    pandas.core.indexes.range.RangeIndex pandas.indexes.range.RangeIndex pandas.RangeIndex
    pandas.core.indexes.numeric.Int64Index pandas.indexes.numeric.Int64Index
    pandas.core.indexes.numeric.Float64Index pandas.indexes.numeric.Float64Index
    pandas.core.indexes.numeric.UInt64Index
    pandas._libs.arrays.__pyx_unpickle_NDArrayBacked
    pandas.arrays.StringArray pandas.core.arrays.string_.StringArray
    pandas.core.arrays.string_.StringArrayNumpySemantics
    pandas.arrays.ArrowStringArray pandas.core.arrays.string_arrow.ArrowStringArray
    pandas.core.arrays.string_arrow.ArrowStringArrayNumpySemantics
    pandas.StringDtype pandas.core.arrays.string_.StringDtype
    pyarrow.lib._restore_array pyarrow.lib.chunked_array pyarrow.lib.type_for_alias
    pyarrow.lib.py_buffer
    builtins.slice
"""
_RECORDS = frozenset(_NAMES.split())
_MOST_ROWS = 100_000_000


def read_pickled_frame(path: str | Path) -> pd.DataFrame:
    """Read a table; a named index becomes its first column.

    Raises:
        UserError: No such file, not a pickled frame, damaged, or with something in it that is
            neither text, numbers nor lists; nothing of it is run.
    """
    path = existing_file(path, "annotation")
    try:
        with path.open("rb") as handle:
            record = restricted_pickle.load(handle, records=_RECORDS)
        return _frame(record)
    except ForbiddenGlobalError as error:
        raise UserError(
            f"{path}: refused, it wants {error}, but only tables of text and numbers are read; "
            "nothing was run (give the CSV file instead)"
        ) from error
    except DamagedPickleError as error:
        raise UserError(f"{path}: truncated, or not a pickled table ({error})") from error
    except _MISFITS as error:
        raise UserError(
            f"{path}: not a pickled table of a pandas that is known ({error}); give the CSV file"
        ) from error


_MISFITS = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)


def _frame(record: Any) -> pd.DataFrame:
    _expect(record, "DataFrame")
    # pandas < 1.1 calls the manager _data
    manager = record.state.get("_mgr", record.state.get("_data"))
    _expect(manager, "BlockManager")
    axes, blocks = _axes_and_blocks(manager)
    (columns, _), (index, index_name) = (_axis(axis) for axis in axes)
    by_place: dict[int, np.ndarray] = {}
    for values, places in blocks:
        for place, column in zip(_places(places), _columns(values), strict=True):
            by_place[place] = column
    table = pd.DataFrame({name: by_place[place] for place, name in enumerate(columns)})
    if len(columns) != len(by_place) or len(table) != len(index):
        raise DamagedPickleError(f"{len(index)} rows are announced, {len(table)} found")
    if index_name is not None:
        table.insert(0, str(index_name), index)
    return table


def _axes_and_blocks(manager: Record) -> tuple[Sequence[Any], list[tuple[Any, Any]]]:
    """Axes (columns, index), and (values, places) of every block."""
    if manager.arguments:  # pandas >= 1.3: BlockManager(blocks, axes)
        blocks, axes = manager.arguments
        return axes, [block.arguments[:2] for block in blocks]
    # before: the state is (axes, values, items, {"0.14.1": {"axes", "blocks"}})
    stored = manager.state[3]["0.14.1"]
    return stored["axes"], [(block["values"], block["mgr_locs"]) for block in stored["blocks"]]


def _axis(record: Any) -> tuple[list[Any], Any]:
    """Labels and name of an index."""
    _expect(record, "_new_Index")
    kind, parts = record.arguments
    if isinstance(kind, Global) and kind.name.endswith("RangeIndex"):
        labels = range(parts["start"], parts["stop"], parts["step"])
        if len(labels) > _MOST_ROWS:
            raise DamagedPickleError(f"{len(labels)} rows are announced")
        return list(labels), parts.get("name")
    (labels,) = _columns(parts["data"])
    return list(labels), parts.get("name")


def _places(places: Any) -> list[int]:
    """Numbers of the columns of a block."""
    if isinstance(places, Record):
        _expect(places, "slice")
        return list(range(*places.arguments))
    return [int(place) for place in places]


def _columns(values: Any) -> list[np.ndarray]:
    """Columns of a block (columns, rows), or the labels of an index, as plain arrays."""
    if isinstance(values, np.ndarray):
        return [values] if values.ndim == 1 else list(values)
    reader = _ARRAYS.get(_short(values))
    if reader is None:
        raise DamagedPickleError(f"a column of kind {_short(values)}")
    return [reader(values)]


def _text_array(record: Record) -> np.ndarray:
    """Texts that pandas keeps as Python objects: the state is (dtype, array) in some order."""
    arrays = [part for part in record.state if isinstance(part, np.ndarray)]
    return arrays[0].reshape(-1)


def _arrow_text_array(record: Record) -> np.ndarray:
    """Texts that pandas keeps in Arrow's layout, in one chunk or several."""
    data = record.state["_pa_array"]
    chunks = data.arguments[0] if _short(data) == "chunked_array" else [data]
    texts = [text for chunk in chunks for text in _arrow_texts(chunk)]
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out


def _arrow_texts(chunk: Any) -> list[str | float]:
    """Texts of (validity bits, offsets, bytes); NaN where there is none."""
    _expect(chunk, "_restore_array")
    kind, length, _, first, buffers, *_ = chunk.arguments[0]
    valid, offsets, data = (None if buffer is None else _bytes(buffer) for buffer in buffers)
    width = np.int64 if kind.arguments[0].startswith("large") else np.int32
    bounds = np.frombuffer(offsets or b"", width)[first : first + length + 1].tolist()
    here = np.ones(first + length, bool)
    if valid is not None:
        here = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    texts = (data or b"")[bounds[0] : bounds[-1]] if bounds else b""
    return [
        texts[start - bounds[0] : stop - bounds[0]].decode() if here[first + i] else np.nan
        for i, (start, stop) in enumerate(pairwise(bounds))
    ]


def _bytes(buffer: Any) -> bytes:
    _expect(buffer, "py_buffer")
    (data,) = buffer.arguments
    return data.data.tobytes() if isinstance(data, Payload) else bytes(data)


_ARRAYS: dict[str, Callable[[Record], np.ndarray]] = {
    "__pyx_unpickle_NDArrayBacked": _text_array,
    "StringArray": _text_array,
    "ArrowStringArray": _arrow_text_array,
    "ArrowStringArrayNumpySemantics": _arrow_text_array,
}


def _short(record: Any) -> str:
    name = record.name if isinstance(record, Record) else type(record).__name__
    return name.rsplit(".", 1)[-1]


def _expect(record: Any, name: str) -> None:
    if not isinstance(record, Record) or _short(record) != name:
        raise DamagedPickleError(f"{_short(record)} where {name} belongs")
