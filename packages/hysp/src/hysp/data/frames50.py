"""From recordings of any length to clips of 50 frames: centred, resized, turned to the camera.

Everything runs on whole batches. The numbers of ``compat="upstream"`` are those of the original's
preprocessing (differences, weights and blends in float32 as in its image library, angles in
float64).

Letters: N samples, C coordinates (x, y up, z to the camera), F raw frames, T frames of a clip
(50), V joints (25 of Kinect v2), M persons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from behaviorzoo.errors import UserError
from hysp.data.persons import counted_frames, fill_gaps, present_frames
from hysp.data.skeleton_files import Compat

FRAMES = 50
SPINE_SHOULDER = 20
LEFT_SHOULDER, RIGHT_SHOULDER = 4, 8
LONGEST = 300
"""Frames of a raw array of the original's data sets."""
_TINY = 1e-4


def central_frames(x: np.ndarray, most: int = LONGEST) -> np.ndarray:
    """The middle ``most`` frames of (C, F, V, M); shorter ones as they are."""
    start = max((x.shape[1] - most) // 2, 0)
    return x[:, start : start + most]


def clips_of(
    samples: Sequence[np.ndarray], compat: Compat = "paper", frames: int = FRAMES
) -> tuple[np.ndarray, list[str | None]]:
    """Make the clips of raw samples.

    ``paper``: a clip runs from the first to the last frame in which anybody is there; gaps of a
    person inside are closed, and before a person comes and after one leaves all joints are 0.
    ``upstream``: the first frames, as many as person 0 is there (a gap inside cuts the tail).

    Args:
        samples: N arrays (C, F, V, M), F may differ; an absent person is 0.
        compat: See above and :func:`to_camera`.
        frames: T.

    Returns:
        float32 (N, C, T, V, M), and for each sample why it has no clip (its row is 0 then) or
        None.
    """
    if compat == "upstream":
        return _upstream_clips(samples, frames)
    empty: list[str | None] = [None] * len(samples)
    spans, there = [], []
    for number, sample in enumerate(samples):
        present = present_frames(sample)  # (F, M)
        anybody = np.flatnonzero(present.any(axis=1))
        if not len(anybody):
            empty[number] = "nobody in any frame"
            anybody = np.zeros(1, dtype=np.int64)
        span = slice(anybody[0], anybody[-1] + 1)
        spans.append(fill_gaps(sample[:, span]))
        there.append(_resized_presence(present[span], frames))
    raw, lengths = padded(spans)
    x = to_camera(resize(raw, lengths, frames, SPINE_SHOULDER), compat)
    return x * np.stack(there)[:, None, :, None], empty


def padded(samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Samples (C, F, V, M) as one array float32 (N, C, max F, V, M), zeros behind; lengths (N,)."""
    lengths = np.array([sample.shape[1] for sample in samples])
    C, _, V, M = samples[0].shape
    raw = np.zeros((len(samples), C, max(lengths.max(), 1), V, M), dtype=np.float32)
    for row, sample in zip(raw, samples, strict=True):
        row[:, : sample.shape[1]] = sample
    return raw, lengths


def resize(
    x: np.ndarray, lengths: np.ndarray, frames: int = FRAMES, centre: int | None = None
) -> np.ndarray:
    """Linear interpolation in time with half-pixel centres, also for making a clip shorter.

        s_i = (i + 0.5) L / T - 0.5, clamped to [0, L - 1]

    Args:
        x: float32 (N, C, F, V, M).
        lengths: L >= 1 of each sample, (N,): frames behind are not looked at.
        frames: T.
        centre: Subtract this joint of the same person and frame before; every person stands
            around a centre of its own then, and the distance between two is gone.

    Returns:
        float32 (N, C, T, V, M).
    """
    before, after, weight = _positions(np.asarray(lengths), frames)
    weight = weight[:, :, None, None, None]
    out = _picked(x, before, centre) * (1 - weight)
    out += _picked(x, after, centre) * weight
    return out.transpose(0, 2, 1, 3, 4)


def _picked(x: np.ndarray, frame: np.ndarray, centre: int | None) -> np.ndarray:
    """Frames (N, T) of (N, C, F, V, M), centred: (N, T, C, V, M)."""
    picked = x[np.arange(len(x))[:, None], :, frame]
    if centre is not None:
        # Centred here and not before: of 300 raw frames at most 100 are looked at.
        picked -= _over_joints(picked[..., centre, :], x.shape[3])
    return picked


def to_camera(
    x: np.ndarray,
    compat: Compat = "paper",
    left: int = LEFT_SHOULDER,
    right: int = RIGHT_SHOULDER,
) -> np.ndarray:
    """Turn every person in every frame about the vertical axis so that the shoulders face +x.

    The angle is that between the line from the left to the right shoulder and the x axis.
    ``upstream`` has one sign of it for the whole sequence of a person, so that single frames may
    be turned the wrong way; ``paper`` takes the sign of each frame.

    Args:
        x: (N, C, T, V, M), C = 3, y up.
        compat: See above.
        left: Joint of the left shoulder.
        right: Joint of the right shoulder.

    Returns:
        float32, the same shape.
    """
    line = x[:, :, :, right].astype(np.float64) - x[:, :, :, left]  # (N, C, T, M)
    along, depth = line[:, 0], line[:, 2]
    if compat == "upstream":
        angle = np.arccos(along / (np.hypot(along, depth) + _TINY))
        angle = np.where(depth.sum(axis=1, keepdims=True) >= 0, -angle, angle)
    else:
        angle = -np.arctan2(depth, along)
    cosine, sine = (_over_joints(f(angle), x.shape[3]) for f in (np.cos, np.sin))  # (N, T, V, M)
    out = np.empty(x.shape, dtype=np.float32)
    out[:, 0] = cosine * x[:, 0] - sine * x[:, 2]
    out[:, 1] = x[:, 1]
    out[:, 2] = sine * x[:, 0] + cosine * x[:, 2]
    return out


def _over_joints(x: np.ndarray, joints: int) -> np.ndarray:
    """(..., M) -> (..., V, M); broadcasting over an inner axis of 2 would take 6 times as long."""
    return np.repeat(x[..., None, :], joints, axis=-2)


def motion_clips(raw: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """The original's second array: differences of the raw frames, resized; no recipe reads it.

    Raw means neither centred nor turned; behind the last frame follow zeros, so that the last
    difference is minus the last pose.

    Args:
        raw: float32 (N, C, F, V, M) with zeros behind the end of each sample.
        frames: T.

    Returns:
        float32 (N, C, T, V, M).
    """
    motion = np.zeros_like(raw)
    motion[:, :, :-1] = raw[:, :, 1:] - raw[:, :, :-1]
    return resize(motion, _upstream_lengths(raw), frames)


def position_clips(raw: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """The original's positions of raw arrays (N, C, F, V, M): float32 (N, C, T, V, M).

    Raises:
        UserError: A sample without person 0; it names the row.
    """
    return to_camera(resize(raw, _upstream_lengths(raw), frames, SPINE_SHOULDER), "upstream")


def _upstream_clips(
    samples: Sequence[np.ndarray], frames: int
) -> tuple[np.ndarray, list[str | None]]:
    raw, _ = padded(samples)
    lengths = counted_frames(raw)
    empty = ["person 0 is in no frame" if not length else None for length in lengths]
    x = resize(raw, np.maximum(lengths, 1), frames, SPINE_SHOULDER)
    return to_camera(x, "upstream"), empty


def _upstream_lengths(raw: np.ndarray) -> np.ndarray:
    lengths = counted_frames(raw)
    if not lengths.all():
        row = int(lengths.argmin())
        raise UserError(
            f"sample {row} (counted from 0) has no frame with person 0: the original's "
            "preprocessing fails here; put it on the list of samples to leave out"
        )
    return lengths


def _positions(lengths: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame before and after each position, int64 (N, T), and the float32 weight of the second."""
    scale = lengths[:, None] / frames
    position = (np.arange(frames) + 0.5) * scale - 0.5
    position = position.clip(0, lengths[:, None] - 1)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, lengths[:, None] - 1)
    return before, after, (position - before).astype(np.float32)


def _resized_presence(there: np.ndarray, frames: int) -> np.ndarray:
    """Whether each person has come and not yet left: (F, M) -> boolean (T, M)."""
    n = len(there)
    first = np.where(there.any(axis=0), there.argmax(axis=0), n)
    last = n - 1 - there[::-1].argmax(axis=0)
    position = ((np.arange(frames) + 0.5) * n / frames - 0.5).clip(0, n - 1).round()[:, None]
    return (position >= first) & (position <= last)
