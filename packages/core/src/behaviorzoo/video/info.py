"""What there is to know about a video before any frame of it is used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.video.errors import VideoError, video_error
from behaviorzoo.video.index import FrameIndex, build_index
from behaviorzoo.video.opening import OpenVideo, open_video, video_path
from behaviorzoo.video.orientation import Orientation

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_CACHE: OrderedDict[Hashable, Any] = OrderedDict()
_CACHE_ENTRIES = 1 << 16
_CACHE_FRAMES = 10_000_000
"""Frames of all remembered indices, 12 bytes each."""
SAME_RATE = 0.01


@dataclass(frozen=True)
class VideoInfo:
    """A video as it is shown.

    Attributes:
        path: The file.
        width: Pixels, after rotation.
        height: Pixels, after rotation.
        fps: Frames per second; the mean rate where it varies.
        duration: Seconds.
        rotation: Degrees clockwise (0, 90, 180, 270) that were applied to the stored picture.
        codec: Name of the codec, such as ``"h264"``.
        partial: Count the whole frames of a file that is cut off, instead of an error.
    """

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    rotation: int
    codec: str
    partial: bool = False

    @property
    def n_frames(self) -> int:
        """Number of frames, counted.

        Raises:
            VideoError: The file is cut off; reading it with ``partial=True`` is still possible.
        """
        return len(self._whole())

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds at which each frame is shown (n_frames,), ascending; rates may vary.

        Raises:
            VideoError: As for ``n_frames``.
        """
        return self._whole().seconds

    def _whole(self) -> FrameIndex:
        index = frame_index(self.path)
        if index.problem and not self.partial:
            raise cut_off(self.path, index)
        return index


def video_info(path: str | Path, *, partial: bool = False) -> VideoInfo:
    """Look at a video without decoding more than its first frame.

    Args:
        path: Anything FFmpeg reads, GIF included. Remembered by path, time of change and size.
        partial: Count the whole frames of a file that is cut off, instead of an error.

    Raises:
        VideoError: No such file, no video, sound only, or the first frame is broken.

    Example:
        >>> info = video_info("mouse.mp4")  # doctest: +SKIP
        >>> info.n_frames, info.fps, info.width, info.height  # doctest: +SKIP
        (900, 30.0, 640, 480)
    """
    info: VideoInfo = _remembered("info", video_path(path), _look)
    return replace(info, partial=True) if partial else info


def frame_index(path: Path) -> FrameIndex:
    """The frame index of a file, remembered like :func:`video_info`."""
    return _remembered("index", path, build_index)


def cut_off(path: Path, index: FrameIndex) -> VideoError:
    """The error for a file that ends before its time."""
    found = len(index)
    return video_error(
        path,
        f"{index.problem}: {found} whole frames; get a complete copy, or read with partial=True",
        frame=found,
    )


def _look(path: Path) -> VideoInfo:
    video = open_video(path, threads=1)
    try:
        frame = _first_frame(video, path)
        turn = Orientation.of(frame)
        seconds = frame_index(path).seconds
        fps = _rate(video, seconds)
        width, height = frame.width, frame.height
        return VideoInfo(
            path=path,
            width=height if turn.transpose else width,
            height=width if turn.transpose else height,
            fps=fps,
            duration=_duration(video, seconds, fps),
            rotation=turn.rotation,
            codec=video.stream.codec_context.codec.canonical_name,
        )
    finally:
        video.close()


def _first_frame(video: OpenVideo, path: Path) -> VideoFrame:
    from av.error import FFmpegError

    try:
        frame = next(iter(video.container.decode(video.stream)), None)
    except FFmpegError as error:
        raise video_error(
            path, f"frame 0 cannot be decoded ({error.strerror}); the file is broken", frame=0
        ) from error
    if frame is None:
        raise video_error(path, "no frame in the video stream; the recording was cut off")
    return frame


def _rate(video: OpenVideo, seconds: NDArray[np.float64]) -> float:
    """Frames per second: measured, and said with the container's own number if that fits."""
    stated = [video.stream.guessed_rate, video.stream.average_rate]
    if len(seconds) < 2:
        return float(stated[1] or stated[0] or 1)
    measured = (len(seconds) - 1) / (seconds[-1] - seconds[0])
    # A container with milliseconds cannot express 1/30 s: what it states is more exact.
    fitting = [rate for rate in stated if rate and abs(measured / rate - 1) <= SAME_RATE]
    return float(fitting[0] if fitting else measured)


def _duration(video: OpenVideo, seconds: NDArray[np.float64], fps: float) -> float:
    stream = video.stream
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(seconds[-1] - seconds[0] + 1 / fps)


def _remembered(kind: str, path: Path, make: Callable[[Path], Any]) -> Any:
    state = path.stat()
    key = (kind, str(path), state.st_mtime_ns, state.st_size)
    if key in _CACHE:
        _CACHE.move_to_end(key)
    else:
        _CACHE[key] = make(path)
        _forget_the_oldest()
    return _CACHE[key]


def _forget_the_oldest() -> None:
    frames = sum(len(entry) for entry in _CACHE.values() if isinstance(entry, FrameIndex))
    while len(_CACHE) > _CACHE_ENTRIES or (frames > _CACHE_FRAMES and len(_CACHE) > 1):
        _, entry = _CACHE.popitem(last=False)
        frames -= len(entry) if isinstance(entry, FrameIndex) else 0
