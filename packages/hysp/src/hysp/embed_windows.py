"""Recordings by sliding windows: one embedding per frame, the mean of all windows over it.

Letters: L frames of a recording, W windows, T frames of a clip, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.poses.selection import Selection, choose, recording_files
from behaviorzoo.recordings import frame_range, load_recording
from behaviorzoo.windows import stitch_mean, window_starts
from hysp.data.clips import ClipMaker, DroppedClip, fitted_scale
from hysp.data.config import DataConfig
from hysp.data.recordings import Source, pose_config, read_source, skeleton_of
from hysp.data.skeleton import Skeleton

STRIDE_SHARE = 6
"""Windows start every so many-th part of their length where nothing else is said."""

_FRAMES_AT_ONCE = 8192


@dataclass(frozen=True)
class Windows:
    """Some windows of a recording, ready for the network.

    Attributes:
        starts: First frame of each, from the start of the recording, int64 (W,).
        clips: float32 (W, C, T, V, M).
    """

    starts: np.ndarray
    clips: np.ndarray


class WindowedRecordings:
    """Recordings one after the other, each cut into overlapping windows.

    Args:
        config: Settings; ``clips.window`` (default: frames of a clip) and ``clips.stride``.
        state: What must be treated as in the training.

    Attributes:
        window: Frames of a window.
        stride: Frames between the starts of two.
        files: The recordings.
        frames: Frames of all recordings.
        dropped: Recording, first frame and reason of windows that were left out.

    Raises:
        UserError: Wrong path or names.
    """

    def __init__(self, config: DataConfig, state: Mapping[str, Any]) -> None:
        config.check()
        self.window = config.clips.window or config.clips.frames
        self.stride = config.clips.stride or max(1, self.window // STRIDE_SHARE)
        self.config = replace(
            config, clips=replace(config.clips, window=self.window, stride=self.stride)
        )
        self._pose = pose_config(self.config)
        self.files = recording_files(self._pose, "train")
        self.selection: Selection = choose(self._pose, self.files[0], state.get("selection", {}))
        self.skeleton = (
            Skeleton.from_dict(state["skeleton"])
            if "skeleton" in state
            else skeleton_of(load_recording(self.files[0]), config.clips, self.selection.keypoints)
        )
        self._maker = ClipMaker(
            self.config.clips, self.skeleton, self.selection.individuals, self.selection.dimensions
        )
        self._scale: float | None = config.clips.scale or state.get("scale")
        self.dropped: list[tuple[str, int, str]] = []

    @property
    def frames(self) -> int:
        """Frames of all recordings."""
        return sum(stop - start for start, stop in map(frame_range, self.files))

    def __iter__(self) -> Iterator[Source]:
        """The recordings, one in memory at a time."""
        for file in self.files:
            yield self.read(file)

    def read(self, file: Path) -> Source:
        """One recording."""
        return read_source(file, self.selection, self._pose)

    def windows(self, source: Source, at_once: int) -> Iterator[Windows]:
        """Cut a recording; stretches that make no clip are left out and noted.

        Args:
            source: The recording.
            at_once: Windows in memory.
        """
        starts = window_starts(len(source.positions), self.window, self.stride)
        for first in range(0, len(starts), at_once):
            made = [
                (start, clip)
                for start in starts[first : first + at_once].tolist()
                if (clip := self._clip(source, start)) is not None
            ]
            if not made:
                continue
            clips = np.stack([clip for _, clip in made])
            if self._scale is None:  # neither the user nor the training says it
                self._scale = fitted_scale(clips, self.skeleton.centre)
            clips *= np.float32(self._scale)
            yield Windows(np.array([start for start, _ in made]), clips)

    def _clip(self, source: Source, start: int) -> np.ndarray | None:
        positions = source.positions[start : start + self.window]
        frame = source.first_frame + start
        try:
            return self._maker.make(positions, source.where, frame)
        except DroppedClip as reason:
            self.dropped.append((source.name, frame, str(reason)))
            return None


def frame_means(
    values: np.ndarray, starts: np.ndarray, window: int, stride: int, n_frames: int
) -> np.ndarray:
    """Mean over all windows that contain a frame.

    Frames behind the last whole window, fewer than ``stride``, take the value of that window.

    Args:
        values: (W, D).
        starts: First frame of each window, ascending (W,).
        window: Frames of a window.
        stride: Frames between the starts of two.
        n_frames: L.

    Returns:
        float32 (L, D); NaN where no window is.
    """
    out = np.full((n_frames, values.shape[1]), np.nan, dtype=np.float32)
    for begin in range(0, n_frames, _FRAMES_AT_ONCE):
        end = min(begin + _FRAMES_AT_ONCE, n_frames)
        # Every window over a frame of this stretch lies within it and a window on both sides.
        left, right = max(begin - window, 0), min(end + window, n_frames)
        own = (starts >= left) & (starts + window <= right)
        if own.any():
            means = stitch_mean(values[own][:, None], starts[own] - left, window, right - left)
            out[begin:end] = means[begin - left : end - left]
    tail = int(starts[-1]) + window if len(starts) else n_frames
    if n_frames - tail < stride:
        out[tail:] = values[-1] if len(starts) else np.nan
    return out
