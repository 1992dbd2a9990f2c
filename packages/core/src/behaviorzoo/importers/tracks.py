"""What every reader of tracker files hands over, and how it becomes a recording.

Letters: N rows of the file, S space (2 or 3), K key points, I individuals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from behaviorzoo.errors import UserError, suggest

if TYPE_CHECKING:
    import xarray as xr

# A frame index with holes becomes a contiguous recording. Beyond this many empty rows per row
# of data the index is not a frame number (a time stamp, an identifier).
LARGEST_GROWTH = 1000
# Longer lists of individuals go to the report instead of the screen.
LONGEST_LIST = 4


@dataclass
class Tracks:
    """Poses of one file, with the frame number of each row.

    Attributes:
        position: Coordinates (N, S, K, I), NaN where missing.
        confidence: Confidence (N, K, I), or None when the file has none.
        keypoints: K names.
        individuals: I names.
        frames: Frame number of each row in the source (N,), increasing.
        source: Software that wrote the file.
        fps: Frames per second, when the file says so.
        numbered: Whether ``frames`` was read from the file; else rows were counted from 0.
        notes: What the user should know: one line each.
    """

    position: np.ndarray
    confidence: np.ndarray | None
    keypoints: list[str]
    individuals: list[str]
    frames: np.ndarray
    source: str
    fps: float | None = None
    numbered: bool = True
    notes: list[str] = field(default_factory=list)

    def to_recording(self, name: str, fps: float, source_file: str) -> xr.Dataset:
        """Make a recording; rows that the frame index leaves out become NaN.

        Raises:
            UserError: The frame index jumps so far that it cannot be frame numbers.
        """
        from behaviorzoo.recordings import make_recording

        rows = self.frames - self.frames[0]
        n_frames = int(rows[-1]) + 1
        if n_frames > LARGEST_GROWTH * len(rows):
            raise UserError(
                f"{source_file}: {len(rows)} rows have frame numbers from {self.frames[0]} to "
                f"{self.frames[-1]}; these are no frame numbers of one video"
            )
        return make_recording(
            spread(self.position, rows, n_frames),
            confidence=None if self.confidence is None else spread(self.confidence, rows, n_frames),
            keypoints=self.keypoints,
            individuals=self.individuals,
            fps=fps,
            name=name,
            first_frame=int(self.frames[0]),
            source=self.source,
            source_file=source_file,
        )


def spread(values: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Place ``values`` (N, ...) at ``rows`` of an array (n_rows, ...) of NaN, float32."""
    out = np.full((n_rows, *values.shape[1:]), np.nan, dtype=np.float32)
    out[rows] = values
    return out


def ordered(tracks: Tracks, where: str) -> Tracks:
    """Sort the rows by frame number and note what was odd about the index.

    Raises:
        UserError: A frame number occurs twice, or is negative.
    """
    frames = tracks.frames
    if (np.diff(frames) <= 0).any():
        order = np.argsort(frames, kind="stable")
        confidence = tracks.confidence
        tracks = replace(
            tracks,
            position=tracks.position[order],
            confidence=None if confidence is None else confidence[order],
            frames=frames[order],
        )
        frames = tracks.frames
        twice = np.flatnonzero(np.diff(frames) == 0)
        if twice.size:
            raise UserError(f"{where}: the frame number {frames[twice[0]]} occurs twice")
        tracks.notes.append("the rows were not in the order of their frame numbers; sorted")
    if frames[0] < 0:
        raise UserError(f"{where}: the first frame number is {frames[0]}, below 0")
    absent = int(frames[-1] - frames[0]) + 1 - len(frames)
    if absent:
        tracks.notes.append(f"{absent} frame numbers are left out in the file; filled with NaN")
    if frames[0]:
        tracks.notes.append(f"the first frame number is {frames[0]}; kept")
    return tracks


def infinite_as_missing(tracks: Tracks) -> Tracks:
    """Turn infinite coordinates into NaN, with a note."""
    infinite = np.isinf(tracks.position)
    if infinite.any():
        tracks.position = np.where(infinite, np.nan, tracks.position)
        tracks.notes.append(f"{infinite.sum()} infinite coordinates were turned into NaN")
    return tracks


def handle_zeros(tracks: Tracks, zero_is_missing: bool) -> Tracks:
    """Some trackers write a missing point as (0, 0): turn it into NaN, or warn about it.

    Args:
        tracks: The tracks.
        zero_is_missing: Turn points whose coordinates are all exactly zero into NaN.

    Returns:
        The tracks with a note when there is any such point.
    """
    zero = (tracks.position == 0).all(axis=1)
    if not zero.any():
        return tracks
    share = f"{100 * zero.mean():.2g} % of all points ({zero.sum()}) lie at exactly 0"
    if not zero_is_missing:
        certain = ""
        if tracks.confidence is not None and (tracks.confidence[zero] == 0).all():
            certain = ", with a confidence of 0"
        tracks.notes.append(
            f"{share}{certain}: this tracker may write missing points as zeros; they were kept, "
            "--zero-is-missing turns them into NaN"
        )
        return tracks
    tracks.position = np.where(zero[:, None], np.nan, tracks.position)
    tracks.notes.append(f"{share}; they were turned into NaN (--zero-is-missing)")
    return tracks


def drop_unsure(tracks: Tracks, minimum: float, where: str) -> Tracks:
    """Turn points with a confidence below ``minimum`` into NaN.

    Raises:
        UserError: The file has no confidence.
    """
    if tracks.confidence is None:
        raise UserError(f"{where}: this file has no confidence; leave --min-confidence out")
    seen = ~np.isnan(tracks.position).any(axis=1)
    with np.errstate(invalid="ignore"):
        unsure = seen & (tracks.confidence < minimum)
    tracks.position = np.where(unsure[:, None], np.nan, tracks.position)
    tracks.notes.append(
        f"{100 * unsure.mean():.2g} % of all points were below the confidence {minimum:g}; "
        "turned into NaN"
    )
    return tracks


def rename_keypoints(tracks: Tracks, names: Mapping[str, str], where: str) -> Tracks:
    """Rename key points.

    Raises:
        UserError: No key point of that name.
    """
    for name in names:
        if name not in tracks.keypoints:
            raise UserError(f"{where}: no key point {name!r}; {suggest(name, tracks.keypoints)}")
    tracks.keypoints = [names.get(keypoint, keypoint) for keypoint in tracks.keypoints]
    return tracks


def note_never_seen(tracks: Tracks) -> Tracks:
    """Name the key points that are missing in every frame."""
    missing = np.asarray(np.isnan(tracks.position).any(axis=1))
    never = np.asarray(missing.all(axis=0))  # (K, I)
    affected = np.flatnonzero(never.any(axis=0))
    if len(affected) > LONGEST_LIST:
        tracks.notes.append(
            f"{len(affected)} of {len(tracks.individuals)} individuals have key points that are "
            "never seen; the missing report lists them"
        )
        return tracks
    for i in affected:
        names = ", ".join(
            name for name, gone in zip(tracks.keypoints, never[:, i], strict=True) if gone
        )
        what = "every key point" if never[:, i].all() else names
        tracks.notes.append(
            f"never seen (100 % missing) for individual {tracks.individuals[i]!r}: {what}; "
            "leave it out when you train"
        )
    return tracks


def set_first_frame(tracks: Tracks, first_frame: int, where: str) -> Tracks:
    """Say where a file without frame numbers begins.

    Raises:
        UserError: The file has frame numbers of its own.
    """
    if tracks.numbered:
        raise UserError(
            f"{where}: the file has its own frame numbers, from {tracks.frames[0]}; "
            "leave --first-frame out"
        )
    tracks.frames = tracks.frames - tracks.frames[0] + first_frame
    return tracks


def note_unnumbered(tracks: Tracks) -> Tracks:
    """Say that the first row was taken for frame 0."""
    if not tracks.numbered:
        tracks.notes.append(
            "the file stores no frame numbers: its first row was taken for frame 0 "
            "(--first-frame N changes it)"
        )
    return tracks
