"""The embedding file: one vector per frame and level, for every recording.

netCDF-4 with one group per level (``level_1`` is the finest), in it the variable
``embedding (frame, feature)`` float32. The root has the table of recordings: ``recording``,
``start``, ``stop`` (rows [start, stop) of every level) and ``first_frame`` (frame number of the
source at row ``start``). ``xarray.open_dataset(path, group="level_1")`` reads a level.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5netcdf
import h5py
import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.mabe import load_submission, save_dictionary

# Quick to read in part, and a small file stays small.
_CHUNK_BYTES = 1 << 17
_BLOCK_ROWS = 1 << 16
_JSON = "json:"


class EmbeddingWriter:
    """Streams embeddings into a file that appears only when it is complete.

    Use as a context manager; leaving it by an exception writes nothing.

    Args:
        path: Target file, suffix ``.nc``.
        levels: Feature count of each level, finest first, such as ``{"level_1": 64}``.
        attrs: Where the embeddings come from; any JSON values.
        allow_missing: Accept NaN. Off by default, because a probe cannot use such frames and a
            NaN mostly means that the network failed. Infinite values are never accepted.

    Raises:
        UserError: No level, or a feature count below one.

    Example:
        >>> with EmbeddingWriter("e.nc", {"level_1": 2}) as writer:  # doctest: +SKIP
        ...     writer.write("day_1", first_frame=0, values={"level_1": np.zeros((9, 2))})
    """

    def __init__(
        self,
        path: str | Path,
        levels: Mapping[str, int],
        attrs: Mapping[str, Any] | None = None,
        *,
        allow_missing: bool = False,
    ) -> None:
        self.path = Path(path)
        self.levels = dict(levels)
        self.attrs = dict(attrs or {})
        self.allow_missing = allow_missing
        if not self.levels:
            raise UserError(f"{path}: an embedding file needs at least one level")
        for level, features in self.levels.items():
            if features < 1 or "/" in level or not level:
                raise UserError(f"{path}: level {level!r} with {features} features cannot be")
        self._rows: list[tuple[str, int, int, int]] = []
        self._names: set[str] = set()
        self._atomic: AbstractContextManager[Path] | None = None
        self._file: h5netcdf.File | None = None

    def __enter__(self) -> EmbeddingWriter:
        self._atomic = atomic_path(self.path)
        self._file = h5netcdf.File(self._atomic.__enter__(), "w")
        for level, features in self.levels.items():
            group = self._file.create_group(level)
            group.dimensions = {"frame": None, "feature": features}
            variable = group.create_variable(
                "embedding", ("frame", "feature"), np.float32, chunks=_chunks(features)
            )
            variable.attrs["long_name"] = f"embedding of each frame, {level}"
            variable.attrs["units"] = "1"
        return self

    def write(self, recording: str, first_frame: int, values: Mapping[str, np.ndarray]) -> None:
        """Append one recording.

        Args:
            recording: Its name, unique in the file.
            first_frame: Frame number of the source that the first row belongs to.
            values: Level -> embeddings (frames, features), one row per frame, for every level.

        Raises:
            UserError: The recording was written before; a level is missing or unknown; the
                shape does not fit; a value is infinite, or NaN without ``allow_missing``.
        """
        if self._file is None:
            raise RuntimeError("EmbeddingWriter is used inside a with block")
        where = f"{self.path}: recording {recording!r}"
        if recording in self._names:
            raise UserError(f"{where} was written before; give every recording its own name")
        for level in set(values) ^ set(self.levels):
            known = level in self.levels
            what = "is missing" if known else f"is unknown; {suggest(level, self.levels)}"
            raise UserError(f"{where}: level {level!r} {what}")
        arrays = {level: self._checked(values[level], level, where) for level in self.levels}
        counts = {level: len(array) for level, array in arrays.items()}
        if len(set(counts.values())) != 1:
            raise UserError(f"{where}: the levels differ in their number of frames, {counts}")
        start = self._rows[-1][2] if self._rows else 0
        stop = start + next(iter(counts.values()))
        for level, array in arrays.items():
            group = self._file.groups[level]
            group.resize_dimension("frame", stop)
            group.variables["embedding"][start:stop] = array
        self._rows.append((recording, start, stop, int(first_frame)))
        self._names.add(recording)

    def _checked(self, array: np.ndarray, level: str, where: str) -> np.ndarray:
        array = np.asarray(array, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != self.levels[level] or not len(array):
            raise UserError(
                f"{where}: {level} has the shape {array.shape}, "
                f"expected (frames, {self.levels[level]}) with at least one frame"
            )
        # A sum is finite only if all its terms are: one pass without a mask in memory.
        if not np.isfinite(array.sum(dtype=np.float64)):
            bad = np.isinf(array) if self.allow_missing else ~np.isfinite(array)
            if bad.any():
                row = int(bad.any(axis=1).argmax())
                raise UserError(
                    f"{where}: {level} has {int(bad.any(axis=1).sum())} frames with values that "
                    f"are not finite, the first at row {row}; check the input and the checkpoint"
                )
        return array

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        assert self._atomic is not None
        failure = error
        try:
            if error is None:
                self._write_table(self._file)
            self._file.close()
        except BaseException as raised:
            failure = raised
        self._file = None
        self._atomic.__exit__(type(failure) if failure else None, failure, traceback)
        if failure is not None and failure is not error:
            raise failure

    def _write_table(self, file: h5netcdf.File) -> None:
        if not self._rows:
            raise UserError(f"{self.path}: no recording was given, so no file was written")
        file.attrs["Conventions"] = "CF-1.11"
        file.attrs["title"] = "frame-wise embeddings of behaviour recordings"
        file.attrs["levels"] = json.dumps(list(self.levels))
        for key, value in self.attrs.items():
            file.attrs[key] = _encode_attribute(value)
        file.dimensions = {"recording": len(self._rows)}
        names, *columns = zip(*self._rows, strict=True)
        recording = file.create_variable("recording", ("recording",), dtype=h5py.string_dtype())
        recording[:] = np.array(names, dtype=object)
        for name, column in zip(("start", "stop", "first_frame"), columns, strict=True):
            variable = file.create_variable(name, ("recording",), dtype=np.int64)
            variable[:] = np.array(column, dtype=np.int64)


class Embeddings:
    """An embedding file, read when asked. Use as a context manager, or call ``close``.

    Attributes:
        path: The file.
        levels: Names of the levels, finest first.
        table: Columns recording, start, stop, first_frame. Frame f of a recording is row
            ``start + f - first_frame`` of every level.
        attrs: What the writer said about the origin.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = existing_file(path, "embedding file")
        try:
            self._file = h5netcdf.File(self.path, "r")
        except OSError as error:
            raise UserError(f"{path}: not an embedding file (netCDF), or truncated") from error
        try:
            self._read_table()
        except BaseException:
            self._file.close()
            raise

    def _read_table(self) -> None:
        columns = ("recording", "start", "stop", "first_frame")
        absent = [name for name in columns if name not in self._file.variables]
        groups = [
            name for name, group in self._file.groups.items() if "embedding" in group.variables
        ]
        if absent or not groups:
            what = f"table column {absent[0]!r}" if absent else "level with an 'embedding'"
            raise UserError(f"{self.path}: not an embedding file, it has no {what}")
        attrs = {key: _decode_attribute(value) for key, value in self._file.attrs.items()}
        order = json.loads(attrs.pop("levels", "[]"))
        self.levels: list[str] = [name for name in order if name in groups] or sorted(groups)
        self.attrs: dict[str, Any] = {
            key: value for key, value in attrs.items() if key not in ("Conventions", "title")
        }
        values = {name: np.asarray(self._file.variables[name][...]) for name in columns}
        values["recording"] = np.array([_text(name) for name in values["recording"]], dtype=object)
        self.table = pd.DataFrame(values)
        rows = zip(*(values[name].tolist() for name in columns), strict=True)
        self._rows: dict[str, tuple[int, int, int]] = {name: tuple(row) for name, *row in rows}
        last = max((stop for _, stop, _ in self._rows.values()), default=0)
        for level in self.levels:
            if len(self._variable(level)) < last:
                raise UserError(f"{self.path}: {level} has fewer rows than its table says")

    @property
    def recordings(self) -> list[str]:
        """Names of the recordings in the order of the file."""
        return list(self._rows)

    def features(self, level: str) -> int:
        """Number of features of a level."""
        return int(self._variable(level).shape[1])

    def span(self, recording: str) -> tuple[int, int]:
        """First frame number of a recording, and its number of frames.

        Raises:
            UserError: No such recording.
        """
        start, stop, first_frame = self._row(recording)
        return first_frame, stop - start

    def read(self, level: str, recording: str | None = None) -> np.ndarray:
        """Embeddings of a level (frames, features) float32, of one recording or of all.

        Raises:
            UserError: No such level or recording; the nearest name is given.
        """
        variable = self._variable(level)
        if recording is None:
            return variable[...]
        start, stop, _ = self._row(recording)
        return variable[start:stop]

    def blocks(self, level: str, rows: int = _BLOCK_ROWS) -> Iterator[np.ndarray]:
        """All embeddings of a level in pieces (<= rows, features), to bound the memory."""
        variable = self._variable(level)
        for start in range(0, len(variable), rows):
            yield variable[start : start + rows]

    def _variable(self, level: str) -> Any:
        if level not in self.levels:
            raise UserError(f"{self.path}: no level {level!r}; {suggest(level, self.levels)}")
        return self._file.groups[level].variables["embedding"]

    def _row(self, recording: str) -> tuple[int, int, int]:
        if recording not in self._rows:
            hint = suggest(recording, self._rows)
            raise UserError(f"{self.path}: no recording {recording!r}; {hint}")
        return self._rows[recording]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Embeddings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_embeddings(path: str | Path) -> Embeddings:
    """Open an embedding file for reading.

    Raises:
        UserError: No such file, empty, truncated, or not an embedding file.
    """
    return Embeddings(path)


def save_embeddings(
    path: str | Path,
    recordings: Mapping[str, tuple[int, Mapping[str, np.ndarray]]],
    attrs: Mapping[str, Any] | None = None,
    *,
    allow_missing: bool = False,
) -> Path:
    """Write embeddings that are already in memory.

    Args:
        path: Target file, suffix ``.nc``.
        recordings: Name -> (first frame, {level: embeddings (frames, features)}).
        attrs: Where the embeddings come from.
        allow_missing: See :class:`EmbeddingWriter`.

    Returns:
        The path.

    Raises:
        UserError: See :class:`EmbeddingWriter`.
    """
    path = Path(path)
    if not recordings:
        raise UserError(f"{path}: no recording was given, so no file was written")
    _, first = next(iter(recordings.values()))
    levels = {level: _width(array, f"{path}: {level}") for level, array in first.items()}
    with EmbeddingWriter(path, levels, attrs, allow_missing=allow_missing) as writer:
        for name, (first_frame, values) in recordings.items():
            writer.write(name, first_frame, values)
    return path


def export_submission(embeddings_path: str | Path, level: str, npy_path: str | Path) -> Path:
    """Write one level as a MABe submission ``{"frame_number_map", "embeddings"}``.

    The embeddings pass through a file beside the target, not through the memory.

    Args:
        embeddings_path: Embedding file.
        level: Level to export.
        npy_path: Target ``.npy``; the map holds rows, name -> (start, stop).

    Returns:
        The target.

    Raises:
        UserError: No such file or level, or the target cannot be written.
    """
    with open_embeddings(embeddings_path) as source, atomic_path(npy_path) as temporary:
        bounds = source.table[["start", "stop"]].to_numpy().tolist()
        frame_map = dict(zip(source.recordings, map(tuple, bounds), strict=True))
        shape = (max(stop for _, stop in bounds), source.features(level))
        raw = temporary.with_name("rows")
        rows = np.memmap(raw, np.float32, "w+", shape=shape)
        filled = 0
        for block in source.blocks(level):
            rows[filled : filled + len(block)] = block
            filled += len(block)
        content = {"frame_number_map": frame_map, "embeddings": rows}
        save_dictionary(temporary, content)
    return Path(npy_path)


def import_submission(npy_paths: str | Path | Sequence[str | Path], out_path: str | Path) -> Path:
    """Turn MABe submissions into an embedding file, one level per submission.

    Frame numbers start at 0 in every clip, because a submission does not keep them.

    Args:
        npy_paths: Submissions of ``level_1``, ``level_2``, ... with the same clips.
        out_path: Target ``.nc``.

    Returns:
        The target.

    Raises:
        UserError: No submission, or the submissions differ in their clips; see also
            :func:`behaviorzoo.mabe.load_submission`.
    """
    paths = [npy_paths] if isinstance(npy_paths, str | Path) else list(npy_paths)
    if not paths:
        raise UserError("no submission was given; name at least one .npy file")
    parts = {f"level_{i}": load_submission(path) for i, path in enumerate(paths, start=1)}
    ranges, _ = parts["level_1"]
    for path, (other, _) in zip(paths, parts.values(), strict=True):
        if other != ranges:
            either = {**ranges, **other}
            changed = next(name for name in either if ranges.get(name) != other.get(name))
            raise UserError(
                f"{path}: clip {changed!r} has the frames {other.get(changed)}, "
                f"but {ranges.get(changed)} in {paths[0]}; give submissions of the same clips"
            )
    levels = {level: embeddings.shape[1] for level, (_, embeddings) in parts.items()}
    attrs = {"source": "MABe submission", "source_files": [Path(path).name for path in paths]}
    with EmbeddingWriter(out_path, levels, attrs) as writer:
        for name, (start, stop) in ranges.items():
            values = {level: array[start:stop] for level, (_, array) in parts.items()}
            writer.write(name, 0, values)
    return Path(out_path)


def _chunks(features: int) -> tuple[int, int]:
    return max(1, _CHUNK_BYTES // (4 * features)), features


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _width(array: np.ndarray, where: str) -> int:
    if np.ndim(array) != 2:
        raise UserError(f"{where} has the shape {np.shape(array)}, expected (frames, features)")
    return np.shape(array)[1]


def _encode_attribute(value: Any) -> str | int | float:
    """NetCDF attributes are text or numbers; the rest travels as JSON text."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return _JSON + json.dumps(value, default=str)


def _decode_attribute(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value.startswith(_JSON):
        return json.loads(value[len(_JSON) :])
    return value
