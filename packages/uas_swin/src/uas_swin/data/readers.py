"""Frames of a video by three libraries, which must agree on every one of them.

PyAV (through the core) is the default. decord and OpenCV are there for those who are used to
them, and to check. How many frames there are, and which is which, is always what the core says:
the presentation order, a rotation applied. A library that cannot deliver a frame is an error that
names video and frame; no frame ever stands in for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, suggest


class Reader(Protocol):
    """An open video.

    Attributes:
        n_frames: Frames it has.
        fps: Mean frames per second.
    """

    n_frames: int
    fps: float

    def frames(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """RGB frames (n, H, W, 3) at ascending, distinct ``indices``."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class PyAVReader:
    """The reader of the core: seeks to the key frame before and decodes from there."""

    def __init__(self, path: str) -> None:
        from behaviorzoo.video import VideoReader

        self._video = VideoReader(path)
        self.n_frames = self._video.info.n_frames
        self.fps = self._video.info.fps

    def frames(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """RGB frames (n, H, W, 3)."""
        return self._video.frames(np.asarray(indices))

    def close(self) -> None:
        """Let go of the file."""
        self._video.close()


class DecordReader:
    """decord, one thread; it reads no GIF."""

    def __init__(self, path: str) -> None:
        from behaviorzoo.video import VideoError, video_info

        info = video_info(path)
        self.n_frames, self.fps, self._path = info.n_frames, info.fps, path
        decord = _library("decord")
        # What decord writes to standard error besides raising is its own inner call stack.
        decord.logging.set_level(decord.logging.QUIET)
        self._errors = decord.DECORDError
        try:
            self._video: Any = decord.VideoReader(path, num_threads=1)
        except decord.DECORDError as error:
            raise VideoError(f"{path}: decord cannot open it; {_OTHER}") from error
        if len(self._video) != self.n_frames:
            raise VideoError(
                f"{path}: decord counts {len(self._video)} frames, there are {self.n_frames}; "
                f"{_OTHER}"
            )

    def frames(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """RGB frames (n, H, W, 3)."""
        from behaviorzoo.video import VideoError

        wanted = [int(index) for index in indices]
        try:
            return self._video.get_batch(wanted).asnumpy()
        except self._errors as error:
            raise VideoError(
                f"{self._path}: decord cannot decode the frames up to {wanted[-1]}; "
                f"the file may be broken there; {_OTHER}"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._video = None


class OpenCVReader:
    """OpenCV, one frame after the other: its own seeking is inexact in many files."""

    def __init__(self, path: str) -> None:
        import cv2

        from behaviorzoo.video import VideoError, video_info

        info = video_info(path)
        self.n_frames, self.fps, self._path = info.n_frames, info.fps, path
        self._video = cv2.VideoCapture(path)
        self._next = 0
        if not self._video.isOpened():
            raise VideoError(f"{path}: OpenCV cannot open it; {_OTHER}")

    def frames(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """RGB frames (n, H, W, 3)."""
        return np.stack([self._frame(int(index)) for index in indices])

    def _frame(self, index: int) -> NDArray[np.uint8]:
        import cv2

        from behaviorzoo.video import VideoError

        if index < self._next:
            self._video.release()
            self._video, self._next = cv2.VideoCapture(self._path), 0
        read = True
        while read and self._next <= index:
            read = self._video.grab()
            self._next += 1
        read, frame = self._video.retrieve() if read else (False, None)
        if not read or frame is None:
            raise VideoError(
                f"{self._path}: OpenCV cannot decode frame {self._next - 1} of {self.n_frames}; "
                f"the file may be broken there; {_OTHER}"
            )
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        """Let go of the file."""
        self._video.release()


READERS: dict[str, Callable[[str], Reader]] = {
    "pyav": PyAVReader,
    "decord": DecordReader,
    "opencv": OpenCVReader,
}
_OTHER = "reader='pyav' may read it"


def open_reader(path: str, reader: str = "pyav") -> Reader:
    """Open a video.

    Args:
        path: The file.
        reader: A key of :data:`READERS`.

    Raises:
        UserError: No such reader, or its library is not installed.
        VideoError: Not a video, or not one that the library reads.
    """
    if reader not in READERS:
        raise UserError(f"reader: unknown {reader!r}; {suggest(reader, READERS)}")
    return READERS[reader](str(path))


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"reader={name!r} needs {name}: pip install {name}; or {_OTHER}") from error
