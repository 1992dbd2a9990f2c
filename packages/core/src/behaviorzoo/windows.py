"""Sliding windows over a recording, and the way back from windows to frames.

Letters: T frames of a sequence, L frames of a window, W windows, P parts (tokens) of a window,
D features. Everything is arithmetic on whole arrays; windows are views, never copies.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Padding = Literal["edge", "zeros", "missing"]


def pad_frames(x: np.ndarray, before: int, after: int, mode: Padding = "edge") -> np.ndarray:
    """Lengthen a sequence at both ends.

    Args:
        x: Sequence (T, ...), T >= 1.
        before: Frames added in front.
        after: Frames added behind.
        mode: ``edge`` repeats the first and the last frame, ``zeros`` adds 0, ``missing`` adds NaN
            (floating point only).

    Returns:
        Sequence (before + T + after, ...) of the same dtype; ``x`` itself where nothing is added.

    Raises:
        ValueError: Negative amounts, an empty sequence, or an unknown mode.
    """
    if before < 0 or after < 0:
        raise ValueError(f"padding must not be negative, got {before} and {after}")
    if len(x) == 0:
        raise ValueError("cannot pad a sequence of 0 frames")
    if before == after == 0:
        return x
    width = [(before, after)] + [(0, 0)] * (x.ndim - 1)
    if mode == "edge":
        return np.pad(x, width, mode="edge")
    if mode == "zeros":
        return np.pad(x, width)
    if mode == "missing":
        return np.pad(x, width, constant_values=np.nan)
    raise ValueError(f"unknown padding {mode!r}, expected 'edge', 'zeros' or 'missing'")


def window_count(n_frames: int, length: int, stride: int = 1) -> int:
    """Number of whole windows of ``length`` frames that start every ``stride`` frames.

    Args:
        n_frames: T.
        length: L >= 1.
        stride: Frames from one start to the next, >= 1.

    Returns:
        W = floor((T - L) / stride) + 1, or 0 where the sequence is shorter than a window.

    Raises:
        ValueError: ``length`` or ``stride`` below 1.
    """
    if length < 1 or stride < 1:
        raise ValueError(f"window length and stride must be >= 1, got {length} and {stride}")
    return max(0, (n_frames - length) // stride + 1)


def window_starts(n_frames: int, length: int, stride: int = 1) -> np.ndarray:
    """First frame of every whole window.

    Args:
        n_frames: T.
        length: L.
        stride: Frames from one start to the next.

    Returns:
        int64 (W,), ascending from 0.
    """
    return np.arange(window_count(n_frames, length, stride), dtype=np.int64) * stride


def sliding_windows(x: np.ndarray, length: int, stride: int = 1) -> np.ndarray:
    """All whole windows of a sequence as a read-only view.

    Args:
        x: Sequence (T, ...).
        length: L.
        stride: Frames from one start to the next.

    Returns:
        View (W, L, ...): window w is ``x[w * stride : w * stride + L]``. It shares memory with
        ``x``; index it in batches, and copy only these.
    """
    if window_count(len(x), length, stride) == 0:
        return np.empty((0, length, *x.shape[1:]), dtype=x.dtype)
    # (W, ..., L) -> (W, L, ...)
    return np.moveaxis(sliding_window_view(x, length, axis=0), -1, 1)[::stride]


def overlap_counts(n_frames: int, length: int, starts: np.ndarray) -> np.ndarray:
    """In how many windows each frame lies.

    Args:
        n_frames: T.
        length: L.
        starts: First frames of the windows (W,); each window must lie inside the sequence.

    Returns:
        int64 (T,).
    """
    steps = np.zeros(n_frames + 1, dtype=np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, np.asarray(starts) + length, -1)
    return np.cumsum(steps[:-1])


def stitch_mean(values: np.ndarray, starts: np.ndarray, span: int, n_frames: int) -> np.ndarray:
    """Average the parts of overlapping windows frame by frame.

    Part p of window w describes the ``span`` frames from ``starts[w] + p * span`` on. A frame gets
    the mean over all windows that contain it. The parts are not repeated in time:
    each is added once, at its first frame, and the sums are then widened to ``span`` frames.

    Args:
        values: Embeddings (W, P, D), so that a window has P * span frames.
        starts: First frame of each window (W,), all different.
        span: Frames of one part.
        n_frames: T.

    Returns:
        float64 (T, D); NaN for a frame that no window contains.

    Raises:
        ValueError: The windows leave the sequence or do not match their starts.
    """
    n_windows, parts, features = values.shape
    starts = np.asarray(starts, dtype=np.int64)
    length = parts * span
    if len(starts) != n_windows or len(np.unique(starts)) != n_windows:
        raise ValueError(f"{n_windows} windows need as many different starts, got {len(starts)}")
    if n_windows and (starts.min() < 0 or starts.max() + length > n_frames):
        raise ValueError(f"windows of {length} frames do not all lie inside {n_frames} frames")
    first = np.zeros((n_frames, features))
    for part in range(parts):
        first[starts + part * span] += values[:, part]
    total = widen(first, span)
    counts = overlap_counts(n_frames, length, starts)
    with np.errstate(invalid="ignore"):
        return total / counts[:, None]


def widen(first: np.ndarray, span: int) -> np.ndarray:
    """Spread what is stored at the first frame of each part over the part's frames.

    Args:
        first: Sums (T, ...) at the first frames.
        span: Frames of one part, >= 1.

    Returns:
        Array (T, ...) with out[f] = first[f] + first[f - 1] + ... + first[f - span + 1].
    """
    total = first.copy()
    for offset in range(1, min(span, len(first))):
        total[offset:] += first[:-offset]
    return total
