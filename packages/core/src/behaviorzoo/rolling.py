"""Rolling mean and standard deviation over time, for any number of columns at once."""

from __future__ import annotations

import numpy as np


def rolling_mean_std(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over a centred window, leaving out missing values.

    The window of frame f has the frames from f - (window - 1) // 2 to f + window // 2; it is
    shorter at both ends. Cost does not depend on the window (running sums in float64).

    Args:
        values: (n_frames, D); NaN = missing.
        window: Length in frames, >= 1.

    Returns:
        Mean and (population) standard deviation, each (n_frames, D) in the precision of
        ``values``; NaN where the whole window is missing.
    """
    if window < 1:
        raise ValueError(f"a window of {window} frames has no mean")
    seen = ~np.isnan(values)
    count = _window_sums(seen.astype(np.float64), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Around the column mean, so that the difference of squares below keeps its digits.
        centre = np.where(seen, values, 0.0).sum(axis=0) / seen.sum(axis=0)
        centred = np.where(seen, values - centre, 0.0)
        mean = _window_sums(centred, window) / count
        variance = _window_sums(np.square(centred), window) / count - np.square(mean)
    # Rounding leaves a constant stretch with a variance of about 1e-16 times the column's.
    floor = 1e-13 * np.square(centred).max(axis=0, initial=0.0)
    std = np.sqrt(np.where(variance < floor, np.where(np.isnan(variance), np.nan, 0.0), variance))
    return (mean + centre).astype(values.dtype), std.astype(values.dtype)


def _window_sums(values: np.ndarray, window: int) -> np.ndarray:
    """Sums over the window of each frame (n_frames, D)."""
    n_frames = len(values)
    running = np.zeros((n_frames + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=running[1:])
    frames = np.arange(n_frames)
    first = np.maximum(frames - (window - 1) // 2, 0)
    last = np.minimum(frames + window // 2 + 1, n_frames)
    return running[last] - running[first]
