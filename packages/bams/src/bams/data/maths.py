"""Differences in time, lengths and angles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Polar(NamedTuple):
    """Length and direction of vectors, (...) each; directions in radians, [-pi, pi]."""

    r: np.ndarray
    theta: np.ndarray


def change(values: np.ndarray, frames: int = 1, axis: int = -1) -> np.ndarray:
    """Difference to the value ``frames`` before.

    The first ``frames`` entries have nothing before them. As in the original they take the
    difference at index ``frames + 1`` (not ``frames``). Where a sequence is too short for that
    they take its last difference, and 0 where there is none.

    Args:
        values: Any array with time along ``axis``.
        frames: How far back, >= 1.
        axis: The axis of time.

    Returns:
        Array of the same shape.

    Example:
        >>> change(np.array([0, 1, 3, 6, 10])).tolist()
        [2, 1, 2, 3, 4]
    """
    values = np.moveaxis(values, axis, 0)
    out = np.zeros_like(values)
    if len(values) > frames:
        out[frames:] = values[frames:] - values[:-frames]
        out[:frames] = out[min(frames + 1, len(values) - 1)]
    return np.moveaxis(out, 0, axis)


def polar(x: np.ndarray, y: np.ndarray) -> Polar:
    """Length and direction of vectors given by their coordinates."""
    return Polar(np.hypot(x, y), np.arctan2(y, x))


def wrap(angle: np.ndarray) -> np.ndarray:
    """The same angle in [-pi, pi)."""
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def rotated(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors turned by ``angle`` radians, counter-clockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x - sin * y, sin * x + cos * y
