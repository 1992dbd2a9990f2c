"""Reading frames as arrays, by number, by time, or window after window."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from behaviorzoo.errors import UserError
from behaviorzoo.video.decoding import Decoder
from behaviorzoo.video.errors import VideoError, VideoWarning, video_error
from behaviorzoo.video.info import VideoInfo, cut_off, video_info
from behaviorzoo.video.opening import video_path
from behaviorzoo.video.orientation import scaled, to_rgb

Frames = NDArray[np.uint8]
"""uint8 (N, H, W, 3), RGB, upright."""


class VideoReader:
    """A video that stays open while several things are read from it.

    Safe to hand to the workers of a data loader: a forked or spawned copy opens the file anew.

    Args:
        path: The file.
        partial: What to do with a broken file. False: an error names the first frame that was
            asked for and cannot be had. True: the video ends before that frame; a
            :class:`VideoWarning` is issued and ``problem`` holds the error.
        threads: Threads of the decoder, 0 for one per core. Default: 0, in child processes 1.
            With one thread every picture that the decoder made up for lost data is noticed, with
            several nearly every one.
        short_side: Scale frames on decoding so that the shorter side has this many pixels.
            FFmpeg's bilinear scaler is fast, but its values differ from those of OpenCV and
            PyTorch.

    Raises:
        VideoError: No such file.

    Example:
        >>> with VideoReader("mouse.mp4") as video:  # doctest: +SKIP
        ...     clip = video.frames(range(0, 64, 2))
        ...     for start, frames in video.stream(window=32, stride=16):
        ...         print(start, frames.shape)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        partial: bool = False,
        threads: int | None = None,
        short_side: int | None = None,
    ) -> None:
        if short_side is not None and short_side < 1:
            raise UserError(f"short_side is {short_side}, expected a number of pixels")
        self.path = video_path(path)
        self.partial, self.threads, self.short_side = partial, threads, short_side
        self.problem: VideoError | None = None
        self._decoder = Decoder(self.path, threads)
        self._process = os.getpid()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.partial, self.threads, self.short_side)

    def __len__(self) -> int:
        return self.info.n_frames

    def close(self) -> None:
        """Close the file. Reading again opens it again."""
        if self._process == os.getpid():
            self._decoder.close()

    @property
    def info(self) -> VideoInfo:
        """Size, rate, frame count and times, see :class:`VideoInfo`."""
        return video_info(self.path, partial=self.partial)

    def frames(self, indices: ArrayLike | Sequence[int] | range) -> Frames:
        """Read frames by number.

        Args:
            indices: Frame numbers in any order, repeated ones too (N,).

        Returns:
            uint8 (N, H, W, 3), in the order of ``indices``; with ``partial`` without those that
            cannot be had.

        Raises:
            VideoError: A number is out of range, or a frame is broken (with ``partial`` only if
                none is left).
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or not (np.issubdtype(indices.dtype, np.integer) or not indices.size):
            raise UserError(f"{self.path}: frame numbers must be whole, in one dimension")
        return self._gather(self._within(indices.astype(np.int64)))

    def span(
        self, start: float = 0.0, end: float | None = None
    ) -> tuple[Frames, NDArray[np.float64]]:
        """Read the frames that are shown from ``start`` to ``end``.

        As ``torchvision.io.read_video(path, start, end, pts_unit="sec")`` with its
        ``video_reader`` backend: both ends inclusive, widened to the next time stamp that the
        container can express.

        Args:
            start: Seconds.
            end: Seconds; None for the end of the video.

        Returns:
            Frames uint8 (N, H, W, 3) and their times in seconds (N,); N may be 0.

        Raises:
            VideoError: A frame in the span is broken, or the file is cut off within it.
        """
        index = self._own().index
        unit = float(index.time_base)
        times = index.times - index.origin
        inside = times >= np.floor(start / unit)
        if end is not None:
            inside &= times <= np.ceil(end / unit)
        if index.problem and not self.partial and (end is None or end > times[-1] * unit):
            raise cut_off(self.path, index)
        numbers = np.flatnonzero(inside)
        frames = self._gather(numbers)
        return frames, index.seconds[numbers[: len(frames)]]

    def stream(self, window: int, stride: int | None = None) -> Iterator[tuple[int, Frames]]:
        """Go through the video window by window, holding one window at a time.

        Args:
            window: Frames per window.
            stride: Frames from one start to the next, ``window`` by default. With a larger one
                the frames in between are not decoded unless others need them.

        Yields:
            First frame number and frames uint8 (n, H, W, 3) of each window. Windows start at
            0, stride, 2 * stride, ... until every frame was in one; the last may be shorter.

        Raises:
            VideoError: A frame is broken. With ``partial`` the stream ends before it.
        """
        stride = window if stride is None else stride
        if window < 1 or stride < 1:
            raise UserError(f"window is {window} and stride {stride}, both must be 1 or more")
        index = self._own().index
        wanted = np.arange(len(index))
        if stride > window:
            wanted = wanted[wanted % stride < window]
        held: list[Frames] = []
        start = fresh = 0
        for number, image in self._decoded(wanted):
            held.append(image)
            fresh += 1
            if number == start + window - 1:
                yield start, np.stack(held)
                start, held, fresh = start + stride, held[stride:], 0
        if fresh:
            yield start, np.stack(held)
        if index.problem and self.problem is None:
            self._bear(cut_off(self.path, index))

    def _own(self) -> Decoder:
        """The decoder of this process: a forked child must not share a file with its parent."""
        if self._process != os.getpid():
            self._decoder = Decoder(self.path, self.threads)
            self._process = os.getpid()
        return self._decoder

    def _gather(self, numbers: NDArray[np.int64]) -> Frames:
        """Frames of valid numbers in the order given."""
        wanted, places = np.unique(numbers, return_inverse=True)
        images: Frames | None = None
        found = 0
        for _, image in self._decoded(wanted):
            if images is None:
                images = np.empty((len(wanted), *image.shape), np.uint8)
            images[found] = image
            found += 1
        if images is None:
            if len(numbers) and self.problem is not None:
                raise self.problem
            return np.empty((0, *self._shape()), np.uint8)
        if found == len(numbers) and (np.diff(numbers) > 0).all():
            return images
        return images[places[places < found]]

    def _decoded(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Frames]]:
        """Number and pixels of ascending frames, as far as ``partial`` allows."""
        shape: tuple[int, ...] | None = None
        try:
            for number, frame in self._own().frames(wanted):
                image = to_rgb(frame, self.short_side)
                if image.shape != (shape := shape or image.shape):
                    raise video_error(
                        self.path,
                        f"frame {number} has {image.shape[1]}x{image.shape[0]} pixels, those "
                        f"before have {shape[1]}x{shape[0]}; split the video there",
                        number,
                    )
                yield number, image
        except VideoError as error:
            self._bear(error)

    def _within(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers that are frames; others are an error, or left out of a file cut off."""
        index = self._own().index
        wrong = (numbers < 0) | (numbers >= len(index))
        if not wrong.any():
            return numbers
        if index.problem and (numbers >= 0).all():
            error = cut_off(self.path, index)
            self._bear(error)
            if wrong.all():
                raise error
            return numbers[~wrong]
        raise video_error(
            self.path,
            f"no frame {numbers[wrong][0]}: the video has {len(index)}, 0 to {len(index) - 1}",
        )

    def _bear(self, error: VideoError) -> None:
        """Raise an error, or note it where a part of the video is welcome."""
        if not self.partial or error.frame is None:
            raise error
        self.problem = error
        warnings.warn(
            f"{error.path}: ends before frame {error.frame} ({error.reason})",
            VideoWarning,
            stacklevel=4,
        )

    def _shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame as given out."""
        info = self.info
        height, width = info.height, info.width
        if self.short_side is not None:
            height, width = scaled(height, width, self.short_side)
        return height, width, 3


def read_frames(
    path: str | Path,
    indices: ArrayLike | Sequence[int] | range,
    *,
    partial: bool = False,
    threads: int | None = None,
    short_side: int | None = None,
) -> Frames:
    """Read frames by number: :meth:`VideoReader.frames` of a file opened for it.

    Example:
        >>> read_frames("mouse.mp4", [30, 10, 10]).shape  # doctest: +SKIP
        (3, 480, 640, 3)
    """
    with VideoReader(path, partial=partial, threads=threads, short_side=short_side) as video:
        return video.frames(indices)


def read_span(
    path: str | Path,
    start: float = 0.0,
    end: float | None = None,
    *,
    partial: bool = False,
    threads: int | None = None,
    short_side: int | None = None,
) -> tuple[Frames, NDArray[np.float64]]:
    """Read frames by time: :meth:`VideoReader.span` of a file opened for it."""
    with VideoReader(path, partial=partial, threads=threads, short_side=short_side) as video:
        return video.span(start, end)


@dataclass(frozen=True)
class VideoCheck:
    """What a look at every frame of a file found.

    Attributes:
        path: The file.
        n_frames: Frames that the file lists; 0 where it is no video.
        readable: Frames before the first that cannot be decoded.
        problem: What is wrong, without the name of the file; None for a sound video.
    """

    path: Path
    n_frames: int
    readable: int
    problem: str | None


def check_video(path: str | Path, threads: int | None = 1) -> VideoCheck:
    """Decode every frame of a file and tell what came of it; never raises :class:`VideoError`.

    Args:
        path: The file.
        threads: Threads of the decoder. With several it hands a picture out while another thread
            may still find that the one it builds on is damaged, and some damage is not seen.
    """
    total = readable = 0
    problem: str | None = None
    try:
        decoder = Decoder(video_path(path), threads)
        try:
            total = len(decoder.index)
            problem = decoder.index.problem
            for _ in decoder.frames(np.arange(total)):
                readable += 1
        finally:
            decoder.close()
    except VideoError as error:
        problem = error.reason
    return VideoCheck(Path(path), total, readable, problem)


def _reopen(path: Path, partial: bool, threads: int | None, short_side: int | None) -> VideoReader:
    return VideoReader(path, partial=partial, threads=threads, short_side=short_side)
