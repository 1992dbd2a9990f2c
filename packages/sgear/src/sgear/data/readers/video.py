"""Clips of videos: only the frames that end up in the clip are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from behaviorzoo.video import VideoError, read_frames, video_info
from sgear.data.config import Compat
from sgear.data.readers.clip import BrokenClipError, Clip
from sgear.data.sampling import Draws, Sampling, clip_span, frame_times, kept_frames

_SAME_TIME = 1e-6
"""Seconds; times of frames are fractions, those of annotations decimals."""


class VideoClipReader:
    """Clips of videos below some folders.

    Args:
        roots: Folders, searched in order.
        compat: ``upstream`` spreads the times of the frames evenly over the clip, as the original
            does; ``corrected`` takes those of the video (they differ where frames are missing or
            the rate varies).
    """

    what = "videos"

    def __init__(self, roots: Sequence[str | Path], compat: Compat = "upstream"):
        self.roots = [Path(root).expanduser() for root in roots]
        self.compat = compat

    def read(self, video: str, start: float, end: float, how: Sampling, draws: Draws) -> Clip:
        """See :class:`~sgear.data.readers.clip.ClipReader`."""
        path = self.path_of(video)
        if path is None:
            raise BrokenClipError(f"{video}: no such video in {self.places()}")
        try:
            info = video_info(path)
            if info.fps <= 0 and how.frame_rate is None:
                raise BrokenClipError(f"{path}: it has no frame rate; give data.frame_rate")
            span = clip_span(start, end, info.fps, how, draws)
            found = frames_between(info.times, span.start, span.end)
            if len(found) == 0:
                raise BrokenClipError(
                    f"{path}: no frame between {span.start:.3f} and {span.end:.3f} s; it lasts "
                    f"{info.duration:.3f} s"
                )
            kept = kept_frames(len(found), info.fps, how)
            frames = read_frames(path, found[kept])
        except VideoError as error:
            raise BrokenClipError(str(error)) from error
        if self.compat == "corrected":
            return Clip(frames, info.times[found[kept]])
        return Clip(frames, frame_times(span, len(found), kept))

    def path_of(self, video: str) -> Path | None:
        """The file of a video in the first folder that has it."""
        candidates = [root / video for root in self.roots] or [Path(video)]
        return next((path for path in candidates if path.is_file()), None)

    def missing(self, videos: Sequence[str]) -> list[str]:
        """See :class:`~sgear.data.readers.clip.ClipReader`."""
        return [video for video in videos if self.path_of(video) is None]

    def places(self) -> str:
        """See :class:`~sgear.data.readers.clip.ClipReader`."""
        return ", ".join(map(str, self.roots)) or "no folder (root is empty)"


def frames_between(times: np.ndarray, start: float, end: float) -> np.ndarray:
    """Numbers of the frames with start <= time <= end, of ascending times: int64 (n,)."""
    first = np.searchsorted(times, start - _SAME_TIME)
    return np.arange(first, np.searchsorted(times, end + _SAME_TIME, side="right"))
