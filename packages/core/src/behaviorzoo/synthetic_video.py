"""Synthetic videos: small pictures of objects in motion, of known class.

A clip shows one object (its shape and colour) that performs one motion before a textured, noisy
background. Place, size, pace, phase, direction and background are drawn anew for each clip, so that
only the motion tells the class of a motion, and no single frame does.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.synthetic_video_kitchen import Kitchen, write_kitchen
from behaviorzoo.synthetic_video_scene import (
    CHUNK,
    COLOURS,
    MOTION_CURVES,
    background,
    finish,
    paint,
    trajectory,
)
from behaviorzoo.video.writing import write_video

__all__ = [
    "MOTIONS",
    "SHAPES",
    "Kitchen",
    "make_clip",
    "write_clips",
    "write_kitchen",
    "write_video",
]

MOTIONS: tuple[str, ...] = tuple(MOTION_CURVES)
"""Names of the motions."""
SHAPES: dict[str, tuple[int, int, int]] = dict(COLOURS)
"""Name of a shape -> its usual colour, RGB."""


def make_clip(
    motion: str,
    shape: str,
    n_frames: int = 32,
    size: int = 112,
    seed: int | Sequence[int] = 0,
    *,
    colour: tuple[float, float, float] | None = None,
) -> NDArray[np.uint8]:
    """Render a clip.

    Args:
        motion: One of :data:`MOTIONS`; a cycle takes 14 to 22 frames.
        shape: One of :data:`SHAPES`.
        n_frames: T.
        size: Pixels of a side, S.
        seed: Decides everything else.
        colour: Of the object, RGB; the shape's usual one by default.

    Returns:
        uint8 (T, S, S, 3).

    Raises:
        UserError: An unknown name, or a number that is not positive.

    Example:
        >>> make_clip("circle", "star", n_frames=16, size=64, seed=3).shape
        (16, 64, 64, 3)
    """
    if motion not in MOTIONS:
        raise UserError(f"no motion {motion!r}; {suggest(motion, MOTIONS)}")
    if shape not in SHAPES:
        raise UserError(f"no shape {shape!r}; {suggest(shape, SHAPES)}")
    if n_frames < 1 or size < 8:
        raise UserError(f"a clip of {n_frames} frames of {size} pixels; at least 1 of 8, please")
    rng = np.random.default_rng(seed)
    poses = trajectory(motion, n_frames, rng)
    scene = background(size, rng)
    parts = []
    for start in range(0, n_frames, CHUNK):
        part = poses.part(start, start + CHUNK)
        canvas = np.repeat(scene[None], len(part), axis=0)
        parts.append(finish(paint(canvas, part, shape, colour or SHAPES[shape]), rng))
    return np.concatenate(parts)


def write_clips(
    folder: str | Path,
    motions: Sequence[str] = MOTIONS,
    clips_per_class: int = 20,
    *,
    n_frames: int = 32,
    size: int = 112,
    fps: float = 15.0,
    shapes: Sequence[str] = tuple(COLOURS),
    seed: int = 0,
) -> list[Path]:
    """Write ``FOLDER/MOTION/MOTION_000.mp4`` ...: a folder for each class.

    Shape and colour are drawn independently of the motion.

    Args:
        folder: Target.
        motions: Classes.
        clips_per_class: Clips of each.
        n_frames: Frames per clip.
        size: Pixels of a side, even.
        fps: Frames per second.
        shapes: Shapes to draw from.
        seed: Decides everything; clip i of a motion is the same however many are made.

    Returns:
        The files, class by class.

    Raises:
        UserError: An unknown name, a number out of its range, or a file cannot be written.
    """
    if not motions or clips_per_class < 1 or not shapes:
        raise UserError("at least one motion, one shape and one clip per class are needed")
    paths = []
    for motion in motions:
        for clip in range(clips_per_class):
            draw = [seed, zlib.crc32(motion.encode()), clip]
            rng = np.random.default_rng(draw)
            shape = shapes[int(rng.integers(len(shapes)))]
            colour = tuple(rng.uniform(40, 255, 3))
            frames = make_clip(motion, shape, n_frames, size, [*draw, 1], colour=colour)
            path = Path(folder) / motion / f"{motion}_{clip:03d}.mp4"
            paths.append(write_video(path, frames, fps))
    return paths
