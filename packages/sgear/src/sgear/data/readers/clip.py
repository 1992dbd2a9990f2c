"""What every reader gives: the frames of a clip, and when they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from sgear.data.sampling import Draws, Sampling


class BrokenClipError(Exception):
    """The frames of a clip cannot be had; one line that names the video and the reason."""


class Clip(NamedTuple):
    """Frames of a clip.

    Attributes:
        frames: uint8 (T, H, W, 3) RGB, or features float32 (T, 1, 1, C).
        times: Seconds of the frames, float64 (T,).
        n_missing: Feature frames that are nowhere to be found and therefore zeros.
    """

    frames: np.ndarray
    times: np.ndarray
    n_missing: int = 0


class ClipReader(Protocol):
    """Reads clips of one modality."""

    what: str
    """videos or features, for messages."""

    def read(self, video: str, start: float, end: float, how: Sampling, draws: Draws) -> Clip:
        """Sample a clip from a segment of a video.

        Args:
            video: Path of the video below the folders of the data set.
            start: Start of the segment in seconds.
            end: Its end.
            how: Frames, rate and strategy.
            draws: What is random about it.

        Raises:
            BrokenClipError: There is nothing to read; names the video and the reason.
        """
        ...

    def missing(self, videos: Sequence[str]) -> list[str]:
        """Those of the videos that are not there."""
        ...

    def places(self) -> str:
        """Where was looked, for messages."""
        ...
