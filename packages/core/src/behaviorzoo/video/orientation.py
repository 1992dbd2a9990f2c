"""From a decoded frame to an upright RGB array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Orientation:
    """How stored pixels are to be shown: transpose first, then mirror.

    Attributes:
        transpose: Rows become columns.
        mirror_rows: Turn upside down.
        mirror_columns: Swap left and right.
    """

    transpose: bool = False
    mirror_rows: bool = False
    mirror_columns: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """Read the display matrix that travels with a frame; upright where there is none."""
        # By name: iteration gives the values before PyAV 19, the keys from then on.
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        # ISO/IEC 14496-12, 8.3.2: (x', y', 1) = (x, y, 1) [[a, b, u], [c, d, v], [x, y, w]].
        a, b, _, c, d = np.frombuffer(bytes(matrix)[:20], np.int32).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(mirror_rows=d < 0, mirror_columns=a < 0)
        return cls(transpose=True, mirror_rows=b < 0, mirror_columns=c < 0)

    @property
    def rotation(self) -> int:
        """Degrees clockwise from the stored to the shown picture, without any mirroring."""
        if self.transpose:
            return 270 if self.mirror_rows and not self.mirror_columns else 90
        return 180 if self.mirror_rows and self.mirror_columns else 0

    def apply(self, image: NDArray[Any]) -> NDArray[Any]:
        """Turn an image (H, W, 3); a view."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        rows = slice(None, None, -1 if self.mirror_rows else 1)
        columns = slice(None, None, -1 if self.mirror_columns else 1)
        return image[rows, columns]


def to_rgb(frame: VideoFrame, short_side: int | None = None) -> NDArray[np.uint8]:
    """Upright RGB pixels of a frame.

    Args:
        frame: As decoded.
        short_side: Scale the shorter side to this many pixels; None keeps the size.

    Returns:
        uint8 (H, W, 3).
    """
    size: dict[str, int] = {}
    if short_side is not None:
        size["height"], size["width"] = scaled(frame.height, frame.width, short_side)
    return Orientation.of(frame).apply(converted(frame, "rgb24", **size).to_ndarray())


def converted(frame: VideoFrame, pixels: str, **size: int) -> VideoFrame:
    """A frame in another pixel format (and size), converted in one thread.

    PyAV 17 gives every frame a converter with threads of its own. A forked child (the worker of a
    data loader) that frees such a frame of its parent waits for these threads for ever.
    """
    try:
        return frame.reformat(format=pixels, threads=1, **size)
    except TypeError:  # before PyAV 17 there are no threads to choose
        return frame.reformat(format=pixels, **size)


def scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width with the shorter one made ``short_side``, proportions kept."""
    scale = short_side / min(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)
