"""What the augmentations do, given the numbers that were drawn: batched, without randomness.

Legend: B windows, T frames, I individuals, K key points, D coordinates. Missing points are NaN
and stay NaN. Every function works in the precision of ``x`` and leaves it unchanged.
"""

from __future__ import annotations

import math

import torch

MOVE_ANGLES = (-10.0, -5.0, 0.0, 5.0, 10.0)
MOVE_SCALES = (0.9, 1.0, 1.1)
MOVE_SHIFTS = (-0.2, -0.1, 0.0, 0.1, 0.2)


def rotate_in_arena(
    x: torch.Tensor, angle: torch.Tensor, place: torch.Tensor, size: float
) -> torch.Tensor:
    """Rotate a clip about the middle of a square arena and put it down somewhere inside.

    Args:
        x: Positions (B, T, I, K, 2) in an arena from 0 to ``size`` on both axes.
        angle: Radians (B,).
        place: Where in the free range the clip is put, (B, 2) in [0, 1).
        size: Side of the arena.

    Returns:
        (B, T, I, K, 2); a clip that after rotation is as wide or high as the arena is returned
        as it was.
    """
    turned, low, high, fits = turn_inside(x, angle, size)
    shift = low + (high - low) * place.to(x)
    return torch.where(fits[:, None, None, None, None], turned + shift[:, None, None, None], x)


def turn_inside(
    x: torch.Tensor, angle: torch.Tensor, size: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotate a clip about the arena's middle and pull it inside where it sticks out.

    Args:
        x: Positions (B, T, I, K, 2).
        angle: Radians (B,).
        size: Side of the arena.

    Returns:
        The clip, the bounds (B, 2) and (B, 2) of a further shift that keeps it inside, and
        whether it fits at all (B,).
    """
    middle = size / 2
    turned = rotate(x - middle, angle) + middle
    low, high = _extent(turned)
    # Both corrections are computed before either is made, as in the original.
    correction = (high - size).clamp(min=0) + low.clamp(max=0)
    fits = (high - low < size).all(-1)
    inside = turned - correction[:, None, None, None]
    return inside, correction - low, size - high + correction, fits


def rotate(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate the first two coordinates of (B, T, I, K, D) about the origin by angles (B,)."""
    cos, sin = (f(angle.double()).to(x)[:, None, None, None] for f in (torch.cos, torch.sin))
    # Written out: a matrix product with so small a matrix is slower than the four products.
    turned = x.clone()
    turned[..., 0] = cos * x[..., 0] - sin * x[..., 1]
    turned[..., 1] = sin * x[..., 0] + cos * x[..., 1]
    return turned


def mirror(x: torch.Tensor, axis: torch.Tensor, size: float) -> torch.Tensor:
    """Mirror (B, T, I, K, 2) about the arena's middle: coordinate ``axis`` (B,) is reflected."""
    chosen = torch.nn.functional.one_hot(axis, x.shape[-1]).to(x)[:, None, None, None]
    return x * (1 - 2 * chosen) + size * chosen


def shift_in_time(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Move the span of frames that hold anything to another place of the clip, zeros elsewhere.

    Args:
        x: Clips (B, T, V, C).
        place: Position in the free range, (B,) in [0, 1): offset = floor(place * (free + 1)).
    """
    first, length = active_span(x)
    T = x.shape[1]
    offset = (place * (T - length + 1)).long()
    return place_span(x, first, length, offset)


def active_span(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First frame with a non-zero value and frames up to the last one, int64 (B,) each.

    A clip of zeros only is one whole span.
    """
    T = x.shape[1]
    active = (x != 0).flatten(2).any(-1)
    # argmax gives the first of equal maxima.
    first = active.int().argmax(1)
    stop = T - active.flip(1).int().argmax(1)
    return first, stop - first


def place_span(
    x: torch.Tensor, first: torch.Tensor, length: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """Frames [first, first + length) of (B, T, V, C) at [offset, offset + length), zeros around."""
    time = torch.arange(x.shape[1], device=x.device)
    position = time - offset[:, None]
    inside = (position >= 0) & (position < length[:, None])
    source = torch.where(inside, first[:, None] + position, 0)
    moved = x.gather(1, source[:, :, None, None].expand_as(x))
    return torch.where(inside[:, :, None, None], moved, torch.zeros_like(moved))


def move(
    x: torch.Tensor,
    degrees: torch.Tensor,
    scale: torch.Tensor,
    shift_x: torch.Tensor,
    shift_y: torch.Tensor,
) -> torch.Tensor:
    """Slow drift of the camera: rotation, zoom and shift that go linearly from one to another.

    Args:
        x: Clips (B, T, V, C); the first two coordinates are moved.
        degrees: Angle of the first and the last frame (B, 2); the others likewise.
        scale: Zoom (B, 2).
        shift_x: Added to the first coordinate (B, 2).
        shift_y: Added to the second coordinate (B, 2).
    """
    time = torch.linspace(0, 1, x.shape[1], dtype=torch.float64, device=x.device)

    def ramp(ends: torch.Tensor) -> torch.Tensor:  # (B, 2) -> (B, T, 1)
        ends = ends.double()
        return (ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * time)[..., None]

    angle, zoom = ramp(degrees) * (math.pi / 180), ramp(scale)
    cos, sin = (zoom * angle.cos()).to(x), (zoom * angle.sin()).to(x)
    moved = x.clone()
    moved[..., 0] = cos * x[..., 0] - sin * x[..., 1] + ramp(shift_x).to(x)
    moved[..., 1] = sin * x[..., 0] + cos * x[..., 1] + ramp(shift_y).to(x)
    return moved


def _extent(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest value on each axis of a clip, missing points aside: (B, D) each."""
    points = x.flatten(1, 3)
    missing = points.isnan()
    return points.masked_fill(missing, torch.inf).amin(1), points.masked_fill(
        missing, -torch.inf
    ).amax(1)
