"""Hand-made features of any recording: the baseline that a learnt embedding has to beat.

Per individual: speeds, distances between its key points, which points are missing. Per pair of
individuals: distances between them and the speed at which they approach. All of these per
frame, and their rolling mean and standard deviation over three windows.

Letters: T frames, S space, K key points, N individuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import xarray as xr

from behaviorzoo.embeddings import EmbeddingWriter
from behaviorzoo.errors import UserError
from behaviorzoo.recordings import find_recordings, load_recording
from behaviorzoo.rolling import rolling_mean_std

WINDOW_SECONDS = (0.5, 2.0, 6.0)
LEVEL = "hand"
# Pairs of points grow with the square: beyond this, distances are taken from the centroid.
_MOST_POINTS_IN_PAIRS = 8


def hand_features(
    recording: xr.Dataset, windows: Sequence[int] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Features of every frame.

    Missing points make missing values. These are left out of the rolling statistics, and what is
    still missing then takes the feature's median over the recording (0 if it is never seen), a
    rule that needs no training data. That a point is missing is a feature of its own.

    Args:
        recording: Recording with ``position (time, space, keypoints, individuals)``.
        windows: Lengths of the rolling windows in frames; default about 0.5, 2 and 6 s, which
            is 15, 61 and 181 frames at 30 frames per second.

    Returns:
        Features (T, D) float32 without missing values, and their D names. Lengths are in the
        unit of the recording, speeds per second.
    """
    windows = default_windows(float(recording.attrs["fps"])) if windows is None else windows
    names, columns = zip(*_frame_features(recording), strict=True)
    # (T, D0) of the frame itself, then mean and deviation for each window
    blocks, labels = [np.stack(columns, axis=1).astype(np.float32)], list(names)
    for window in windows:
        blocks += rolling_mean_std(blocks[0], window)
        labels += [f"{name}, {what} of {window}" for what in ("mean", "std") for name in names]
    features = np.concatenate(blocks, axis=1)
    return _filled(features), labels


def default_windows(fps: float) -> tuple[int, ...]:
    """Odd window lengths in frames of about 0.5, 2 and 6 seconds."""
    return tuple(int(seconds * fps) // 2 * 2 + 1 for seconds in WINDOW_SECONDS)


def write_hand_features(
    recordings: str | Path | Sequence[str | Path],
    out: str | Path,
    windows: Sequence[int] | None = None,
) -> Path:
    """Write the features of recordings as an embedding file with the one level ``hand``.

    One recording is in memory at a time.

    Args:
        recordings: Recording files, folders or patterns, see :func:`find_recordings`.
        out: Target ``.nc``.
        windows: See :func:`hand_features`.

    Returns:
        The target.

    Raises:
        UserError: No recordings, or recordings that differ in their features.
    """
    paths = find_recordings(recordings)
    first, names = hand_features(load_recording(paths[0]), windows)
    attrs = {"method": "hand-made features", "feature_names": names}
    with EmbeddingWriter(out, {LEVEL: first.shape[1]}, attrs) as writer:
        for path in paths:
            recording = load_recording(path)
            features, found = hand_features(recording, windows)
            if found != names:
                odd = next(iter(set(found) ^ set(names)))
                raise UserError(
                    f"{path}: its features differ from those of {paths[0].name} ({odd!r} is in "
                    "one of them only); give recordings with the same key points, individuals "
                    "and frame rate, or set the windows"
                )
            first_frame = int(recording["time"].values[0])
            writer.write(str(recording.attrs["name"]), first_frame, {LEVEL: features})
    return Path(out)


def _frame_features(recording: xr.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Pairs (name, value per frame (T,)); NaN = missing."""
    fps = float(recording.attrs["fps"])
    individuals = [str(name) for name in recording["individuals"].values]
    keypoints = [str(name) for name in recording["keypoints"].values]
    # (T, S, K, N) -> (N, K, T, S)
    position = recording["position"].transpose("individuals", "keypoints", "time", "space")
    points = position.values.astype(np.float64)
    centroids = _mean(points)
    for who, body, centroid in zip(individuals, points, centroids, strict=True):
        yield from _own_features(who, keypoints, body, centroid, fps)
    for one, two in combinations(range(len(individuals)), 2):
        pair = f"{individuals[one]}-{individuals[two]}"
        yield from _pair_features(pair, keypoints, points[[one, two]], centroids[[one, two]], fps)


def _own_features(
    who: str, keypoints: Sequence[str], body: np.ndarray, centroid: np.ndarray, fps: float
) -> Iterator[tuple[str, np.ndarray]]:
    """Speeds, shape and missing points of one individual; body (K, T, S), centroid (T, S)."""
    missing = np.asarray(np.isnan(body).any(axis=-1))
    yield f"{who} missing share", np.asarray(missing.mean(axis=0))
    yield f"{who} absent", np.asarray(missing.all(axis=0), dtype=np.float64)
    # The mean step of the points seen in both frames: the centroid jumps when a point is lost.
    steps = _speed(body, fps)
    yield f"{who} speed", _compressed(_mean_of_seen(steps))
    for name, point, lost, speed in zip(keypoints, body, missing, steps, strict=True):
        yield f"{who} {name} missing", lost.astype(np.float64)
        yield f"{who} {name} speed", _compressed(speed)
        if len(keypoints) > _MOST_POINTS_IN_PAIRS:
            yield f"{who} {name}-centroid distance", _distance(point, centroid)
    if len(keypoints) <= _MOST_POINTS_IN_PAIRS:
        for a, b in combinations(range(len(keypoints)), 2):
            yield f"{who} {keypoints[a]}-{keypoints[b]} distance", _distance(body[a], body[b])


def _pair_features(
    pair: str, keypoints: Sequence[str], bodies: np.ndarray, centroids: np.ndarray, fps: float
) -> Iterator[tuple[str, np.ndarray]]:
    """Distances between two individuals; bodies (2, K, T, S), centroids (2, T, S)."""
    between = _distance(*centroids)
    yield f"{pair} distance", between
    yield f"{pair} approach", np.diff(between, prepend=between[:1]) * fps
    # The difference of the velocities: two animals that run together have none.
    yield f"{pair} relative speed", _compressed(_speed(centroids[0] - centroids[1], fps))
    if len(keypoints) <= _MOST_POINTS_IN_PAIRS:
        # (K, 1, T, S) against (1, K, T, S)
        crossed = _distance(bodies[0][:, None], bodies[1][None])
        for a, b in np.ndindex(crossed.shape[:2]):
            yield f"{pair} {keypoints[a]}-{keypoints[b]} distance", crossed[a, b]
        nearest = np.where(np.isnan(crossed), np.inf, crossed).min(axis=(0, 1))
        yield f"{pair} nearest distance", np.where(np.isinf(nearest), np.nan, nearest)
    else:
        for name, one, two in zip(keypoints, *bodies, strict=True):
            yield f"{pair} {name}-centroid distance", _distance(one, centroids[1])
            yield f"{pair} centroid-{name} distance", _distance(two, centroids[0])


def _mean(points: np.ndarray) -> np.ndarray:
    """Mean over the seen key points: (N, K, T, S) -> (N, T, S)."""
    seen = ~np.isnan(points)
    with np.errstate(invalid="ignore"):
        return np.where(seen, points, 0.0).sum(axis=1) / seen.sum(axis=1)


def _mean_of_seen(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without missing values: (K, T) -> (T,)."""
    seen = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(seen, values, 0.0).sum(axis=0) / seen.sum(axis=0)


def _speed(points: np.ndarray, fps: float) -> np.ndarray:
    """Length of the step from the frame before, per second: (..., T, S) -> (..., T)."""
    steps = np.diff(points, axis=-2, prepend=points[..., :1, :])
    return np.linalg.norm(steps, axis=-1) * fps


def _distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.linalg.norm(one - two, axis=-1)


def _compressed(speed: np.ndarray) -> np.ndarray:
    """Logarithm of a speed, so that a jump of the tracker does not outweigh an hour of walking."""
    return np.log1p(speed)


def _filled(features: np.ndarray) -> np.ndarray:
    """Replace missing values by the median of their column, or 0 where all are missing."""
    for column in np.flatnonzero(np.isnan(features).any(axis=0)):
        values = features[:, column]
        missing = np.isnan(values)
        values[missing] = 0.0 if missing.all() else np.median(values[~missing])
    return features
