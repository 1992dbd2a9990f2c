"""NWB files with poses in the extension ``ndx-pose``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import h5py
import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.importers.movement_library import movement_io, tracks_from_movement
from behaviorzoo.importers.tracks import Tracks

SOFTWARE = "NWB"


@dataclass(frozen=True)
class _Poses:
    """Where the poses are in the file, and the time of each row in seconds."""

    module: str
    name: str
    seconds: np.ndarray | None
    rate: float
    n_frames: int


def read_nwb(path: Path, where: str) -> Tracks:
    """Read the pose estimation of an NWB file through ``movement``.

    NWB has times, no frame numbers: the first sample is frame 0 and a later one has the number
    of frame periods since. A sample that was left out stays a gap.

    Args:
        path: The file.
        where: Name for the messages.

    Returns:
        The tracks, with the file's own frame rate.

    Raises:
        UserError: Damaged, or not exactly one pose estimation in the file.
    """
    try:
        with h5py.File(path) as file:
            poses = _find(file, where)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{where}: the NWB file is damaged or truncated ({error})") from error
    with movement_io(where) as io:
        ds = io.load_dataset(
            path,
            source_software=SOFTWARE,
            processing_module_key=poses.module,
            pose_estimation_key=poses.name,
        )
    frames, notes = _frame_numbers(poses)
    tracks = tracks_from_movement(ds, frames, SOFTWARE, where)
    tracks.fps = poses.rate
    tracks.notes.extend(notes)
    tracks.numbered = False
    return _split_names(tracks, where)


def _find(file: h5py.File, where: str) -> _Poses:
    found: list[tuple[str, h5py.Group]] = []

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Group) and _type(node) == "PoseEstimation":
            found.append((name, node))

    file.visititems(visit)
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise UserError(
            f"{where}: expected one PoseEstimation in the NWB file, found {names}; "
            "write one file per pose estimation"
        )
    name, group = found[0]
    series = [node for node in group.values() if _type(node) == "PoseEstimationSeries"]
    if not series:
        raise UserError(f"{where}: the PoseEstimation {name!r} holds no key point")
    lengths = {cast("h5py.Dataset", node["data"]).shape[0] for node in series}
    if len(lengths) > 1 or 0 in lengths:
        raise UserError(
            f"{where}: the key points have {sorted(lengths)} frames; expected one length"
        )
    seconds, rate = _times(series, where)
    return _Poses(name.split("/")[-2], name.split("/")[-1], seconds, rate, lengths.pop())


def _times(series: list[h5py.Group], where: str) -> tuple[np.ndarray | None, float]:
    for node in series:
        if "timestamps" in node:
            seconds = np.asarray(cast("h5py.Dataset", node["timestamps"])[()], dtype=float)
            step = np.nanmedian(np.diff(seconds)) if len(seconds) > 1 else np.nan
            if not step > 0:
                raise UserError(f"{where}: the time stamps of the poses do not increase")
            return seconds, round(1 / float(step), 6)
        if "starting_time" in node:
            return None, float(cast("float", node["starting_time"].attrs["rate"]))
    raise UserError(f"{where}: the poses have neither time stamps nor a rate")


def _frame_numbers(poses: _Poses) -> tuple[np.ndarray, list[str]]:
    rows = np.arange(poses.n_frames)
    if poses.seconds is None or len(poses.seconds) != poses.n_frames:
        return rows, []
    since_first = poses.seconds - poses.seconds[0]
    if not np.isfinite(since_first).all():
        return rows, ["some time stamps are missing: rows were numbered from 0"]
    frames = np.round(since_first * poses.rate).astype(np.int64)
    if (np.diff(frames) <= 0).any():
        return rows, ["the time stamps are too irregular for frame numbers: rows were numbered"]
    return frames, []


def _split_names(tracks: Tracks, where: str) -> Tracks:
    """Undo names such as ``ind1_nose``: individuals numbered in the names of the key points.

    Only prefixes that end in a digit count, and only when every individual has the same key
    points; ``left_ear`` is no individual called "left".
    """
    parts = [re.fullmatch(r"([A-Za-z]+\d+)_(.+)", name) for name in tracks.keypoints]
    if not all(parts) or len(tracks.individuals) != 1:
        return tracks
    pairs = [cast("re.Match[str]", part).groups() for part in parts]
    individuals = list(dict.fromkeys(pair[0] for pair in pairs))
    keypoints = list(dict.fromkeys(pair[1] for pair in pairs))
    if sorted(pairs) != sorted((i, k) for i in individuals for k in keypoints):
        return tracks
    order = [pairs.index((i, k)) for k in keypoints for i in individuals]
    shape = (len(keypoints), len(individuals))
    # (N, S, K*I, 1) -> (N, S, K, I)
    position = tracks.position[:, :, order, 0]
    tracks.position = position.reshape(*position.shape[:2], *shape)
    if tracks.confidence is not None:
        tracks.confidence = tracks.confidence[:, order, 0].reshape(-1, *shape)
    tracks.keypoints, tracks.individuals = keypoints, individuals
    tracks.notes.append(f"individuals were read from the names of the points: {individuals}")
    return tracks


def _type(node: object) -> str:
    value = node.attrs.get("neurodata_type", "") if isinstance(node, h5py.Group) else ""
    return value.decode() if isinstance(value, bytes) else str(value)
