"""Frames to the pixels that the network sees, as plain functions on arrays.

The arithmetic is that of the original's pipeline (mmaction2 0.x): OpenCV's bilinear resize on
uint8, crops by whole pixels, uint8 until normalisation. Letters: F frames, H height, W width;
boxes are (left, top, right, bottom) in pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, suggest
from uas_swin.data.draws import Draws

Box = tuple[int, int, int, int]

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of ImageNet's red, green and blue, in grey levels; every configuration uses them."""

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def resized_size(width: int, height: int, scale: float | Sequence[float]) -> tuple[int, int]:
    """Width and height after a resize that keeps the aspect ratio.

    Args:
        width: Of the frame, W.
        height: Of the frame, H.
        scale: A factor; or two numbers, the bounds of the long and the short side in any order,
            -1 for no bound of the long side.

    Raises:
        UserError: The scale is not positive.
    """
    if isinstance(scale, (int, float)):
        factor = float(scale)
    else:
        long_side, short_side = max(scale), min(scale)
        if short_side == -1:
            long_side, short_side = np.inf, long_side
        factor = min(long_side / max(height, width), short_side / min(height, width))
    if not factor > 0:
        raise UserError(f"scale={scale}: must be positive (-1 only for the long side)")
    return int(width * factor + 0.5), int(height * factor + 0.5)


def resize(
    frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    width: int,
    height: int,
    interpolation: str = "bilinear",
) -> NDArray[np.uint8]:
    """Resize every frame to one size, whatever its aspect ratio.

    Args:
        frames: (F, H, W, 3).
        width: New W.
        height: New H.
        interpolation: A key of :data:`INTERPOLATIONS`.

    Returns:
        (F, height, width, 3).

    Raises:
        UserError: Unknown interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        hint = suggest(interpolation, INTERPOLATIONS)
        raise UserError(f"interpolation: unknown {interpolation!r}; {hint}")
    method = INTERPOLATIONS[interpolation]
    out = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for frame, target in zip(frames, out, strict=True):
        cv2.resize(frame, (width, height), dst=target, interpolation=method)
    return out


def crop(frames: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Cut a box out of every frame: (F, H, W, 3) to (F, bottom - top, right - left, 3)."""
    left, top, right, bottom = box
    return frames[:, top:bottom, left:right]


def random_resized_box(
    width: int,
    height: int,
    draws: Draws,
    area_range: Sequence[float] = (0.08, 1.0),
    aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Box:
    """Box of a random share of the area and a random aspect ratio, somewhere in the frame.

    All candidates are drawn at once (aspect ratios uniform in their logarithm, then areas); the
    first that fits is placed at random. The central square is taken if none fits.

    Args:
        width: Of the frame, W.
        height: Of the frame, H.
        draws: Generators of the sample.
        area_range: Smallest and largest share of the frame's area.
        aspect_ratio_range: Smallest and largest width / height.
        attempts: Number of candidates.
    """
    low, high = np.log(aspect_ratio_range)
    ratios = np.exp(draws.numpy.uniform(low, high, size=attempts))
    areas = draws.numpy.uniform(*area_range, size=attempts) * (height * width)
    widths = np.round(np.sqrt(areas * ratios)).astype(int)
    heights = np.round(np.sqrt(areas / ratios)).astype(int)
    for w, h in zip(widths.tolist(), heights.tolist(), strict=True):
        if w <= width and h <= height:
            left = draws.python.randint(0, width - w)
            top = draws.python.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    return center_box(width, height, (side, side))


def center_box(width: int, height: int, size: tuple[int, int]) -> Box:
    """The box of ``size`` (w, h) in the middle of the frame.

    Raises:
        UserError: The frame is smaller than the box.
    """
    w, h = size
    if w > width or h > height:
        raise UserError(
            f"a centre crop of {w}x{h} does not fit into frames of {width}x{height}; "
            "resize before cropping"
        )
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def three_boxes(width: int, height: int, size: tuple[int, int]) -> tuple[Box, Box, Box]:
    """Three boxes of ``size`` (w, h) along the long side: first, last, middle.

    First is left or top, last is right or bottom (up to one pixel short of the edge where the rest
    is odd, as in the original).

    Raises:
        UserError: Neither side of the frame equals that of the box, or the other is smaller.
    """
    w, h = size
    if not ((h == height and w <= width) or (w == width and h <= height)):
        raise UserError(
            f"three crops of {w}x{h} need frames with one side of that size, these are "
            f"{width}x{height}; resize the short side to it before"
        )
    x, y = ((width - w) // 2, 0) if h == height else (0, (height - h) // 2)
    first, last, middle = (0, 0), (2 * x, 2 * y), (x, y)
    boxes = [(left, top, left + w, top + h) for left, top in (first, last, middle)]
    return boxes[0], boxes[1], boxes[2]


def flip(frames: NDArray[np.uint8], direction: str = "horizontal") -> NDArray[np.uint8]:
    """Mirror every frame (F, H, W, 3), left-right or (``vertical``) upside down."""
    return frames[:, :, ::-1] if direction == "horizontal" else frames[:, ::-1]


def normalize(
    frames: NDArray[np.uint8],
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> NDArray[np.float32]:
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        frames: (..., 3) in grey levels.
        mean: Of the channels.
        std: Of the channels.

    Returns:
        float32 (..., 3).
    """
    out = np.subtract(frames, np.asarray(mean, dtype=np.float32), dtype=np.float32)
    return np.multiply(out, (1 / np.asarray(std, dtype=np.float64)).astype(np.float32), out=out)


def to_views(
    frames: NDArray, clip_len: int, order: NDArray[np.intp] | None = None, n_crops: int = 1
) -> NDArray:
    """Frames to clips as the network takes them.

    Args:
        frames: (n_crops * F, h, w, 3), the frames of one crop after the other.
        clip_len: Frames of a clip, T.
        order: (K * T,) which of the F frames stands at each place of the K clips; None where the F
            frames are in their places already.
        n_crops: Number of crops of every frame.

    Returns:
        (V, 3, T, h, w), V = n_crops * K; the view of a crop and a clip is number crop * K + clip.
    """
    h, w, channels = frames.shape[1:]
    # Channels first while every frame is there once (OpenCV parts channels ten times as fast as a
    # transposed copy), then whole planes to their places.
    planes = np.empty((n_crops, channels, len(frames) // n_crops, h, w), dtype=frames.dtype)
    for number, frame in enumerate(frames):
        crop_number, place = divmod(number, planes.shape[2])
        cv2.split(np.ascontiguousarray(frame), list(planes[crop_number, :, place]))
    order = np.arange(planes.shape[2]) if order is None else order
    views = np.empty((n_crops, len(order) // clip_len, channels, clip_len, h, w), frames.dtype)
    for number, place in enumerate(order.tolist()):
        clip, t = divmod(number, clip_len)
        views[:, clip, :, t] = planes[:, :, place]
    return views.reshape(-1, channels, clip_len, h, w)
