"""Pictures of one moving object before a textured background, computed for all frames at once.

Letters: T frames, S pixels of a side. Places are in units of the side, from 0 to 1; y points down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]

AMPLITUDE = 0.24
PERIOD_FRAMES = (14.0, 22.0)
RADIUS = (0.13, 0.19)
NOISE = 5.0  # standard deviation of the noise of a pixel, of 255
CHUNK = 64  # frames painted at a time


@dataclass(frozen=True)
class Poses:
    """Where an object is in each frame: all arrays (T,).

    Attributes:
        x: Centre, from the left.
        y: Centre, from the top.
        radius: Half its size.
        angle: Turn, radians.
    """

    x: Floats
    y: Floats
    radius: Floats
    angle: Floats

    def __len__(self) -> int:
        return len(self.x)

    def part(self, start: int, stop: int) -> Poses:
        """The poses from ``start`` to before ``stop``."""
        return Poses(*(getattr(self, f.name)[start:stop] for f in fields(self)))


def _triangle_wave(cycles: Floats) -> Floats:
    """Like sine, with straight flanks."""
    return 4 * np.abs((cycles + 0.75) % 1 - 0.5) - 1


def _sine(cycles: Floats) -> Floats:
    return np.sin(2 * np.pi * cycles)


# What a motion does, as a function of the cycles run through: displacement right and down in
# amplitudes, growth as a power of two, turn in cycles.
MOTION_CURVES: dict[str, Callable[[Floats], tuple[Floats, Floats, Floats, Floats]]] = {
    "left-right": lambda c: (_sine(c), 0 * c, 0 * c, 0 * c),
    "up-down": lambda c: (0 * c, _sine(c), 0 * c, 0 * c),
    "circle": lambda c: (_sine(c + 0.25), _sine(c), 0 * c, 0 * c),
    "zigzag": lambda c: (_triangle_wave(c / 2), 0.6 * _triangle_wave(2 * c), 0 * c, 0 * c),
    "grow-shrink": lambda c: (0 * c, 0 * c, 0.8 * _sine(c), 0 * c),
    "shake": lambda c: (0.28 * _sine(4.3 * c), 0.28 * _sine(5.1 * c), 0 * c, 0 * c),
    "spin": lambda c: (0 * c, 0 * c, 0 * c, c),
    "still": lambda c: (0 * c, 0 * c, 0 * c, 0 * c),
    "figure-eight": lambda c: (_sine(c), 0.7 * _sine(2 * c), 0 * c, 0 * c),
    "bounce": lambda c: (0 * c, 1 - 2 * np.abs(_sine(c / 2)), 0.3 * np.abs(_sine(c / 2)), 0 * c),
}


def _regular(u: Floats, v: Floats, corners: int, size: float) -> Floats:
    angles = 2 * np.pi * np.arange(corners) / corners + np.pi / 2
    sides = [u * np.float32(np.cos(a)) + v * np.float32(np.sin(a)) for a in angles]
    return np.maximum.reduce(sides) - np.float32(size)


def _box(u: Floats, v: Floats, width: float, height: float) -> Floats:
    return np.maximum(np.abs(u) - np.float32(width), np.abs(v) - np.float32(height))


def _star(u: Floats, v: Floats) -> Floats:
    return np.hypot(u, v) - (0.72 + 0.28 * np.cos(5 * np.arctan2(v, u)))


# Signed distance from the edge, negative inside, for coordinates in units of the radius.
OUTLINES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": lambda u, v: np.hypot(u, v) - 1,
    "square": lambda u, v: _box(u, v, 0.85, 0.85),
    "triangle": lambda u, v: _regular(u, v, 3, 0.55),
    "cross": lambda u, v: np.minimum(_box(u, v, 1.0, 0.33), _box(u, v, 0.33, 1.0)),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) - 0.25,
    "star": _star,
    "bar": lambda u, v: _box(u, v, 1.1, 0.4),
}
COLOURS: dict[str, tuple[int, int, int]] = {
    "disc": (225, 60, 50),
    "square": (70, 110, 230),
    "triangle": (240, 205, 60),
    "cross": (70, 190, 90),
    "ring": (235, 235, 235),
    "star": (200, 90, 210),
    "bar": (240, 140, 50),
}


def trajectory(motion: str, n_frames: int, rng: np.random.Generator) -> Poses:
    """Poses of an object that performs a motion; place, size, pace and phase are drawn.

    Args:
        motion: A name in :data:`MOTION_CURVES`.
        n_frames: T.
        rng: Source of what is drawn.
    """
    direction = 1 if rng.integers(2) else -1
    pace = direction / rng.uniform(*PERIOD_FRAMES)
    cycles = (rng.uniform() + pace * np.arange(n_frames)).astype(np.float32)
    right, down, growth, turn = MOTION_CURVES[motion](cycles)
    amplitude = AMPLITUDE * rng.uniform(0.85, 1.1)
    x, y = rng.uniform(0.44, 0.56, 2)
    return Poses(
        x=(x + amplitude * right).astype(np.float32),
        y=(y + amplitude * down).astype(np.float32),
        radius=(rng.uniform(*RADIUS) * 2**growth).astype(np.float32),
        angle=(2 * np.pi * turn + rng.uniform(-0.3, 0.3)).astype(np.float32),
    )


def background(size: int, rng: np.random.Generator) -> Floats:
    """A cloudy texture in muted colours (S, S, 3), values of 0 to 255."""
    texture = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((3, 28.0), (8, 16.0), (20, 8.0)):
        grid = rng.uniform(-strength, strength, (cells + 1, cells + 1, 3)).astype(np.float32)
        at = np.linspace(0, cells, size, endpoint=False, dtype=np.float32)
        low = at.astype(int)
        share = at - low
        rows = grid[low] + share[:, None, None] * (grid[low + 1] - grid[low])
        texture += rows[:, low] + share[None, :, None] * (rows[:, low + 1] - rows[:, low])
    return texture + np.float32(95) + rng.uniform(-15, 15, 3).astype(np.float32)


def paint(canvas: Floats, poses: Poses, shape: str, colour: tuple[float, float, float]) -> Floats:
    """Put the object into the pictures.

    One half of every object is darker, so that a turn shows even on a disc.

    Args:
        canvas: Pictures (T, S, S, 3), changed in place.
        poses: T of them.
        shape: A name in :data:`OUTLINES`.
        colour: Red, green, blue, 0 to 255.

    Returns:
        ``canvas``.
    """
    size = canvas.shape[1]
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    per_frame = (slice(None), None, None)
    dx = (grid[None, None, :] - poses.x[per_frame]) / poses.radius[per_frame]  # (T, 1, S)
    dy = (grid[None, :, None] - poses.y[per_frame]) / poses.radius[per_frame]  # (T, S, 1)
    cosine, sine = np.cos(poses.angle)[per_frame], np.sin(poses.angle)[per_frame]
    u, v = dx * cosine + dy * sine, dy * cosine - dx * sine  # (T, S, S)
    distance = OUTLINES[shape](u, v) * (poses.radius[per_frame] * size)
    cover = np.clip(0.5 - distance, 0, 1, dtype=np.float32)[..., None]
    shade = np.where(u < 0, np.float32(0.5), np.float32(1))[..., None]
    canvas += cover * (shade * np.asarray(colour, np.float32) - canvas)
    return canvas


def finish(canvas: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add the noise of a camera and round: uint8 (T, S, S, 3)."""
    grain = rng.standard_normal(canvas.shape[:3], np.float32) * np.float32(NOISE)
    return np.clip(canvas + grain[..., None] + 0.5, 0, 255).astype(np.uint8)
