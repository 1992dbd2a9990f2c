"""Writing frames to a video file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, require
from behaviorzoo.files import atomic_path
from behaviorzoo.video.orientation import converted

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# H.264 where this FFmpeg can write it, else MPEG-4 part 2. Without the macroblock tree of x264: in
# pictures of some widths it reads beyond its tables, and no two runs give the same bytes.
CODECS: dict[str, dict[str, object]] = {
    "libx264": {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0"},
    "mpeg4": {"qscale": "3"},
}


def write_video(
    path: str | Path, frames: Iterable[NDArray[np.uint8]], fps: float, *, key_every: int = 24
) -> Path:
    """Write a video; the same frames give the same bytes.

    Args:
        path: Target; the suffix chooses the container (``.mp4``, ``.mov``, ``.mkv``, ``.avi``).
        frames: RGB images (H, W, 3) uint8, all of one even size: an array (T, H, W, 3) or, for
            long videos, anything that gives one after the other.
        fps: Frames per second.
        key_every: Frames from one key frame to the next: fewer make jumping faster and the file
            larger.

    Returns:
        ``path``.

    Raises:
        UserError: No frames, other shapes, an odd size, or the file cannot be written.
    """
    require("av", "video", "writing a video")
    import av

    path = Path(path)
    if not 0 < fps < 1000:
        raise UserError(f"{path}: fps is {fps}, expected a positive number")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path}: no frames to write")
    height, width = _size(path, first, None)
    codec = next(name for name in CODECS if name in av.codecs_available)
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast("VideoStream", container.add_stream(codec, rate=rate))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = key_every
        # Bytes must not depend on the number of cores of the machine.
        stream.codec_context.thread_count = 1
        stream.options = CODECS[codec]
        for image in chain([first], frames):
            _size(path, image, (height, width))
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(converted(picture, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def _size(path: Path, image: NDArray[np.uint8], same: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of an image that can be written."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(
            f"{path}: a frame is {image.dtype} {image.shape}, expected uint8 (height, width, 3)"
        )
    height, width = image.shape[:2]
    if same is not None and (height, width) != same:
        raise UserError(
            f"{path}: a frame has {width}x{height} pixels, the first has {same[1]}x{same[0]}"
        )
    if height % 2 or width % 2:
        raise UserError(f"{path}: {width}x{height} pixels; both must be even for this codec")
    return height, width
