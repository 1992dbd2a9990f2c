"""SLEAP: predictions (.slp), analysis files (.h5, old ones without scores too) and tables (.csv).

Frame numbers: a .slp and a csv hold them; an analysis file starts wherever it was exported from
and does not say where, so its first row is taken for frame 0 unless the user says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import h5py
import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.importers.movement_library import movement_io, tracks_from_movement
from behaviorzoo.importers.tracks import Tracks

SOFTWARE = "SLEAP"
USER_INSTANCE = 0
NO_TRACK = -1


def read_sleap(path: Path, where: str) -> Tracks:
    """Read one SLEAP file; .slp and .h5 through ``movement``, csv directly.

    Args:
        path: The file.
        where: Name for the messages.

    Returns:
        The tracks.

    Raises:
        UserError: Damaged, hand-labelled images, no frame, or instances without a track that
            cannot be told apart.
    """
    if path.suffix == ".csv":
        return _read_table(path, where)
    try:
        with h5py.File(path) as file:
            if "tracks" not in file:
                frames, notes = _predicted_frames(file, where)
            else:
                frames, notes = _analysis_rows(file, where), None
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{where}: the SLEAP file is damaged or truncated ({error})") from error
    with movement_io(where) as io:
        ds = io.load_dataset(path, source_software=SOFTWARE)
    # movement begins a .slp at frame 0; rows before the first frame of the file go.
    ds = ds.isel(time=slice(int(frames[0]), None))
    tracks = tracks_from_movement(ds, frames, SOFTWARE, where)
    tracks.numbered = notes is not None
    tracks.notes.extend(notes or [])
    return tracks


def _analysis_rows(file: h5py.File, where: str) -> np.ndarray:
    """Row numbers of an analysis file, which stores ``tracks`` (I, S, K, N)."""
    n_frames = cast("h5py.Dataset", file["tracks"]).shape[-1]
    if n_frames == 0:
        raise UserError(f"{where}: the analysis file has zero frames")
    return np.arange(n_frames)


def _predicted_frames(file: h5py.File, where: str) -> tuple[np.ndarray, list[str]]:
    """All frame numbers between the first and the last frame of the first video."""
    table = cast("h5py.Dataset", file["frames"])[()]
    instances = cast("h5py.Dataset", file["instances"])[()]
    if len(table) == 0 or len(instances) == 0:
        raise UserError(f"{where}: the file has zero frames with poses")
    notes = []
    videos = np.unique(table["video"])
    if len(videos) > 1:
        notes.append(f"the file holds {len(videos)} videos; only the first was read")
    of_first = table[table["video"] == videos[0]]
    numbers = np.unique(of_first["frame_idx"].astype(np.int64))
    frames = np.arange(numbers[0], numbers[-1] + 1)
    if (instances["instance_type"] == USER_INSTANCE).all():
        raise UserError(
            f"{where}: these are {len(table)} hand-labelled images, not a track of consecutive "
            "frames; import the predictions of the trained network"
        )
    if len(frames) > len(numbers):
        absent = len(frames) - len(numbers)
        notes.append(f"{absent} frame numbers are left out in the file; filled with NaN")
    untracked = instances["frame_id"][instances["track"] == NO_TRACK]
    has_tracks = len(cast("h5py.Dataset", file["tracks_json"])) > 0
    if len(untracked) and not has_tracks:
        _refuse_untracked(untracked, where)
    elif len(untracked):
        notes.append(f"{len(untracked)} instances without a track were left out")
    return frames, notes


def _read_table(path: Path, where: str) -> Tracks:
    """Read the csv export: one row per instance, ``track, frame_idx, NODE.x, NODE.y, ...``."""
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: the table cannot be read ({error})") from error
    if table.empty:
        raise UserError(f"{where}: the table has a header but no frame (zero rows)")
    columns = [str(column) for column in table.columns]
    keypoints = [column[:-2] for column in columns if column.endswith(".x")]
    if not keypoints:
        raise UserError(f"{where}: no column NODE.x in this SLEAP table")
    numbers = np.asarray(pd.to_numeric(table["frame_idx"], errors="coerce"), dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers) | (np.round(numbers) != numbers))
    if wrong.size:
        raise UserError(f"{where}: line {wrong[0] + 2}, column 'frame_idx' is no frame number")
    frames, row = np.unique(numbers.astype(np.int64), return_inverse=True)
    names = table["track"].astype(object).where(table["track"].notna(), "").astype(str)
    track, individuals = pd.factorize(names, sort=False)
    cell = row * len(individuals) + track
    if len(np.unique(cell)) < len(cell):
        _refuse_untracked(row, where)

    def grid(suffix: str) -> np.ndarray:
        """Values of one suffix as (N, K, I)."""
        out = np.full((len(frames), len(keypoints), len(individuals)), np.nan, dtype=np.float32)
        wanted = [f"{keypoint}.{suffix}" for keypoint in keypoints]
        numeric = table.reindex(columns=wanted).apply(pd.to_numeric, errors="coerce")
        out[row, :, track] = numeric.to_numpy(dtype=np.float32)
        return out

    confidence = grid("score")
    return Tracks(
        position=np.stack([grid("x"), grid("y")], axis=1),
        confidence=None if np.isnan(confidence).all() else confidence,
        keypoints=keypoints,
        individuals=[str(name) or "individual_0" for name in individuals],
        frames=frames,
        source=SOFTWARE,
    )


def _refuse_untracked(frame_of_instance: np.ndarray, where: str) -> None:
    """Instances without tracks are readable only when there is one per frame."""
    frames, counts = np.unique(frame_of_instance, return_counts=True)
    if counts.max() > 1:
        raise UserError(
            f"{where}: {counts.max()} instances in one frame (number {frames[counts.argmax()]} of "
            "the file) share a track or have none; run SLEAP's tracking and export again"
        )
