"""Where coordinates are measured from, and in what unit: the normalisations of recordings.

Every normalisation is a function of the positions and of a few numbers that are fitted to the
training recordings once (:class:`Statistics`) and stored, so that other recordings are treated
exactly alike. Missing points are NaN and stay NaN.

Legend: T frames, I individuals, K key points, A anchors, D coordinates.

===========  ====================================================================================
none         coordinates as they are
arena        centre and half the larger side of the space used (1st to 99th percentile):
             about [-1, 1], the same scale on all axes
zscore       mean and standard deviation per axis
centroid     per frame, relative to the median of an individual's key points
egocentric   per frame, relative to the middle of an individual's body axis, turned so that the
             axis points along the first coordinate
window       relative to the median position of all points in the window
===========  ====================================================================================

The last three are divided by the standard deviation that remains. ``centroid`` and
``egocentric`` take each individual's own frame, or that of one ``reference`` individual for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from behaviorzoo.poses.config import Normalisation

ARENA_QUANTILES = (0.01, 0.99)
_MOST_FRAMES = 200_000


@dataclass(frozen=True)
class Statistics:
    """Numbers fitted to the training recordings.

    Attributes:
        middle: Centre of the space used, (D,); rotations and mirror images keep it.
        extent: Half the larger side of that space: the unit of the noise.
        center: Subtracted, (D,).
        scale: Divided by, (D,).
        velocity_scale: Divided by, in coordinate units per second.
        distance_mean: Per distance or speed.
        distance_scale: Per distance or speed.
        distance_unit: Per distance or speed: typical value, the unit inside the logarithm.
    """

    middle: list[float]
    extent: float
    center: list[float]
    scale: list[float]
    velocity_scale: float = 1.0
    distance_mean: list[float] = field(default_factory=list)
    distance_scale: list[float] = field(default_factory=list)
    distance_unit: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint's metadata."""
        return asdict(self)


def anchor_points(
    positions: np.ndarray, normalisation: Normalisation, axis: Sequence[int] = ()
) -> np.ndarray:
    """Points that tell where an individual is (and where it faces) in every frame.

    Gaps are bridged by straight lines (held at the ends), because one missing point of the body
    axis must not make the whole individual missing.

    Args:
        positions: (T, I, K, D).
        normalisation: ``centroid`` gives 1 anchor, ``egocentric`` 2 (rear, front), others none.
        axis: Key points (rear, front) of the body axis.

    Returns:
        float32 (T, I, A, D); NaN throughout where an anchor is never seen.
    """
    if normalisation == "centroid":
        anchors = nan_median(positions, axis=2)[:, :, None]
    elif normalisation == "egocentric":
        anchors = positions[:, :, list(axis)]
    else:
        return positions[:, :, :0]
    T = len(anchors)
    flat = anchors.reshape(T, -1)
    bridged = np.stack([_bridge(column) for column in flat.T], axis=1)
    return bridged.reshape(anchors.shape).astype(np.float32)


def align(
    positions: torch.Tensor,
    velocities: torch.Tensor,
    anchors: torch.Tensor,
    reference: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions relative to the anchors.

    Args:
        positions: (..., I, K, D).
        velocities: (..., I, K, D); turned with the body, never shifted.
        anchors: (..., I, A, D), A = 0 (nothing happens), 1 (centroid) or 2 (rear, front).
        reference: Individual whose anchors count for all; None = each its own.

    Returns:
        Positions and velocities.
    """
    if reference is not None:
        anchors = anchors[..., reference : reference + 1, :, :]
    if anchors.shape[-2] == 0:
        return positions, velocities
    positions = positions - anchors.mean(-2, keepdim=True)
    if anchors.shape[-2] == 1:
        return positions, velocities
    heading = anchors[..., 1:2, :2] - anchors[..., 0:1, :2]  # (..., I, 1, 2)
    length = heading.norm(dim=-1, keepdim=True)
    forward = torch.tensor([1.0, 0.0], dtype=heading.dtype, device=heading.device)
    unit = torch.where(length > 0, heading / length, forward)
    return _turn_back(positions, unit), _turn_back(velocities, unit)


def nan_median(values: np.ndarray, axis: int) -> np.ndarray:
    """Median of what is not NaN; NaN where nothing is."""
    ordered = np.sort(values, axis=axis)  # NaN come last
    count = np.count_nonzero(~np.isnan(values), axis=axis, keepdims=True)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, values.shape[axis] - 1)
    pair = [np.take_along_axis(ordered, index, axis) for index in (low, high)]
    middle = np.where(count > 0, (pair[0] + pair[1]) / 2, np.nan)
    return middle.squeeze(axis)


def window_centred(positions: torch.Tensor) -> torch.Tensor:
    """Windows (B, T, I, K, D) relative to the median position of all their points."""
    median = positions.flatten(1, 3).nanmedian(dim=1).values  # (B, D)
    return positions - median[:, None, None, None]


def fit_space(recordings: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Centre (D,) and half the larger side of the space in which all points are seen.

    Args:
        recordings: Positions (T, I, K, D) each.
    """
    points = _points(recordings)
    low, high = np.nanquantile(points, ARENA_QUANTILES, axis=0)
    extent = float((high - low).max() / 2)
    return (low + high) / 2, extent or 1.0


def fit_center_scale(
    normalisation: Normalisation,
    recordings: Sequence[np.ndarray],
    aligned: Sequence[np.ndarray],
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted and divided by, (D,) each.

    Args:
        normalisation: Which one.
        recordings: Positions (T, I, K, D).
        aligned: The same after :func:`align`.
        window: Frames of a window, for ``window``.
    """
    D = recordings[0].shape[-1]
    zero, one = np.zeros(D), np.ones(D)
    if normalisation == "none":
        return zero, one
    if normalisation == "arena":
        middle, extent = fit_space(recordings)
        return middle, one * extent
    if normalisation == "zscore":
        points = _points(recordings)
        return np.nanmean(points, axis=0), _positive(np.nanstd(points, axis=0))
    if normalisation == "window":
        aligned = [_in_windows(positions, window) for positions in recordings]
    return zero, one * _positive(np.sqrt(np.nanmean(_points(aligned) ** 2)))


def spread(values: Sequence[np.ndarray]) -> float:
    """Root mean square of everything that is seen; 1 where nothing moves."""
    return float(_positive(np.sqrt(np.nanmean(_points(values) ** 2))))


def _points(recordings: Sequence[np.ndarray]) -> np.ndarray:
    """Seen points (n, D) in float64 of evenly spaced frames, so that memory stays bounded."""
    total = sum(len(positions) for positions in recordings)
    step = max(total // _MOST_FRAMES, 1)
    D = recordings[0].shape[-1]
    points = np.concatenate([positions[::step].reshape(-1, D) for positions in recordings])
    return points[~np.isnan(points).any(-1)].astype(np.float64)


def _in_windows(positions: np.ndarray, window: int) -> np.ndarray:
    """Positions relative to the median of the window they lie in, windows side by side."""
    count = max(len(positions) // window, 1)
    cut = positions[: count * window]
    windows = torch.from_numpy(cut.reshape(count, -1, *positions.shape[1:]))
    return window_centred(windows).numpy().reshape(cut.shape)


def _positive(scale: np.ndarray | float) -> np.ndarray:
    """Scales that can be divided by: a coordinate that never varies keeps its unit."""
    scale = np.asarray(scale, dtype=np.float64)
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)


def _turn_back(vectors: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Turn (..., K, D) so that the direction ``unit`` (..., 1, 2) becomes the first axis."""
    x, y, cos, sin = vectors[..., 0], vectors[..., 1], unit[..., 0], unit[..., 1]
    turned = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)
    return torch.cat([turned, vectors[..., 2:]], dim=-1)


def _bridge(values: np.ndarray) -> np.ndarray:
    """Straight lines over the gaps of a series (T,), held at both ends."""
    seen = np.flatnonzero(~np.isnan(values))
    if not len(seen):
        return values
    return np.interp(np.arange(len(values)), seen, values[seen])
