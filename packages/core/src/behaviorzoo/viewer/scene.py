"""What the viewer shows: a stretch of a recording with its maps, labels and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.labels import classes_of, dense_labels, overlaps, read_labels, split_overlapping
from behaviorzoo.projection import fit_projection
from behaviorzoo.recordings import load_recording
from behaviorzoo.skeleton import skeleton_edges


@dataclass(frozen=True)
class Track:
    """One strip of labels.

    Attributes:
        task: Name of the task.
        level: Level whose prediction it is; empty for labels.
        codes: (T,) int32, -1 = unlabelled.
        classes: Class names; those of a task are the same in all its tracks.
    """

    task: str
    level: str
    codes: np.ndarray
    classes: list[str]


@dataclass(frozen=True)
class Scene:
    """What is shown; T frames, K key points, I individuals.

    Attributes:
        recording: The stretch of the recording, T frames.
        edges: Pairs of key point indices to join by lines.
        maps: Level -> points (T, 2) float32; NaN where a frame has no embedding.
        shares: Level -> share of the variance along both axes (2,).
        level: The level shown first; empty without embeddings.
        tracks: Strips, those of a task after each other, labels first.
    """

    recording: xr.Dataset
    edges: list[tuple[int, int]]
    maps: dict[str, np.ndarray]
    shares: dict[str, np.ndarray]
    level: str
    tracks: list[Track]

    @property
    def name(self) -> str:
        """Name of the recording."""
        return str(self.recording.attrs["name"])

    @property
    def first_frame(self) -> int:
        """Frame number of the first frame in the source."""
        return int(self.recording["time"].to_numpy()[0])

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.recording.sizes["time"]


def load_scene(
    recording: str | Path,
    *,
    embeddings: str | Path | None = None,
    labels: str | Path | None = None,
    predictions: str | Path | None = None,
    level: str | None = None,
    start: int | None = None,
    stop: int | None = None,
    skeleton: str = "auto",
) -> Scene:
    """Read what there is to see.

    Args:
        recording: Recording file.
        embeddings: Embedding file; the map of a level is the plane of the largest variance of
            this recording's frames.
        labels: Label table.
        predictions: Label table with the column ``level``, as a probe writes it.
        level: The level shown first; default: the finest.
        start: First frame, in the source's numbers; default: that of the recording.
        stop: Frame after the last one; default: the end of the recording.
        skeleton: See :func:`behaviorzoo.skeleton.skeleton_edges`.

    Returns:
        The scene.

    Raises:
        UserError: A file is absent or damaged, the recording is not in it, or the frames or the
            level do not exist.
    """
    ds = load_recording(recording)
    edges = skeleton_edges(ds, skeleton)
    ds = _cut(ds, start, stop)
    maps, shares = {}, {}
    if embeddings is not None:
        maps, shares = _read_maps(embeddings, ds)
        if level is not None and level not in maps:
            raise UserError(f"{embeddings}: no level {level!r}; {suggest(level, maps)}")
    elif level is not None:
        raise UserError("--level needs --embeddings")
    tracks = _read_tracks(ds, labels, predictions)
    return Scene(ds, edges, maps, shares, level or next(iter(maps), ""), tracks)


def _cut(ds: xr.Dataset, start: int | None, stop: int | None) -> xr.Dataset:
    time = ds["time"].to_numpy()
    first, last = int(time[0]), int(time[-1])
    begin = first if start is None else start
    end = last + 1 if stop is None else stop
    if not first <= begin < end <= last + 1:
        raise UserError(
            f"recording {ds.attrs['name']!r}: frames {begin} to {end} (exclusive) are not in it; "
            f"it has the frames {first} to {last}"
        )
    return ds.isel(time=slice(begin - first, end - first))


def _read_maps(
    path: str | Path, ds: xr.Dataset
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    maps, shares = {}, {}
    name, time = str(ds.attrs["name"]), ds["time"].to_numpy()
    with open_embeddings(path) as embeddings:
        first, n_rows = embeddings.span(name)
        rows = time - first
        inside = (rows >= 0) & (rows < n_rows)
        if not inside.any():
            raise UserError(
                f"{path}: recording {name!r} has embeddings of the frames {first} to "
                f"{first + n_rows - 1}, none of which is shown"
            )
        for level in embeddings.levels:
            values = embeddings.read(level, name)[rows[inside]]
            projection = fit_projection(values)
            points = np.full((len(time), 2), np.nan, dtype=np.float32)
            points[inside] = projection(values)
            maps[level], shares[level] = points, projection.shares
    return maps, shares


def _read_tracks(
    ds: xr.Dataset, labels: str | Path | None, predictions: str | Path | None
) -> list[Track]:
    tables: list[tuple[str, pd.DataFrame]] = []
    if labels is not None:
        tables.append(("", _rows_of(labels, ds)))
    if predictions is not None:
        table = _rows_of(predictions, ds)
        if "level" not in table:
            raise UserError(
                f"{predictions}: predictions need the column 'level'; labels go to --labels"
            )
        levels = table["level"].astype(str)
        tables += [(str(level), table.loc[levels == level]) for level in levels.unique()]
    tables = [(level, _without_overlaps(table)) for level, table in tables]
    tasks = list(dict.fromkeys(str(task) for _, table in tables for task in table["task"]))
    tracks = []
    for task in tasks:
        own = [(level, table) for level, table in tables if task in set(table["task"])]
        classes = sorted({name for _, table in own for name in classes_of(table, task)})
        tracks += [_track(ds, table, task, level, classes) for level, table in own]
    return tracks


def _rows_of(path: str | Path, ds: xr.Dataset) -> pd.DataFrame:
    table, name = read_labels(path), str(ds.attrs["name"])
    rows = table.loc[(table["recording"] == name).to_numpy(dtype=bool)]
    if rows.empty:
        names = table["recording"].astype(str).unique().tolist()
        raise UserError(f"{path}: no row of recording {name!r}; {suggest(name, names)}")
    return rows


def _without_overlaps(table: pd.DataFrame) -> pd.DataFrame:
    """Each class of a task whose rows overlap becomes a strip of its own."""
    tangled = set(overlaps(table)["task"])
    if not tangled:
        return table
    is_tangled = table["task"].isin(list(tangled)).to_numpy(dtype=bool)
    return pd.concat([table.loc[~is_tangled], split_overlapping(table.loc[is_tangled], None)])


def _track(
    ds: xr.Dataset, table: pd.DataFrame, task: str, level: str, classes: Sequence[str]
) -> Track:
    first, n_frames = int(ds["time"].to_numpy()[0]), ds.sizes["time"]
    name = str(ds.attrs["name"])
    codes, names = dense_labels(table, name, task, first, n_frames, list(classes))
    return Track(task, level, codes, names)
