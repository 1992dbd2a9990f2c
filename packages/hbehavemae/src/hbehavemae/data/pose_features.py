"""From stored coordinates of recordings to the network's input, in batched torch.

What is stored for every frame and individual is (K + A, C): the key points and the anchors of the
normalisation, each with its position and, on request, its velocity. Augmentations work on
that; :class:`PoseFeatures` makes the input of it. The same object serves training windows, whole
recordings and later embedding runs, so that they cannot differ.

Legend: B windows, T frames, I individuals, K key points, A anchors, D coordinates, C channels of
a key point (D, or 2 D with velocities), P packed distances, F = (K + P) C features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from behaviorzoo.errors import UserError, suggest
from hbehavemae.data.config import DataConfig
from hbehavemae.data.normalise import (
    Statistics,
    align,
    anchor_points,
    fit_center_scale,
    fit_space,
    spread,
    window_centred,
)
from hbehavemae.data.selection import PAD, Selection, groups_of


@dataclass(frozen=True)
class PoseFeatures:
    """How stored coordinates become network input.

    Attributes:
        config: Normalisation and features.
        selection: Names of the axes.
        statistics: Fitted numbers; None only while they are being fitted.
    """

    config: DataConfig
    selection: Selection
    statistics: Statistics | None = None

    @property
    def keypoints(self) -> int:
        """Key points K, padding included."""
        return len(self.selection.keypoints)

    @property
    def channels(self) -> int:
        """Values C of one key point."""
        return self.selection.dimensions * (2 if "velocities" in self.config.features else 1)

    @property
    def distances(self) -> int:
        """Distances of one individual, before packing."""
        if "distances" not in self.config.features:
            return 0
        return len(self.config.distances_within) + len(self.config.distances_between)

    @property
    def packed(self) -> int:
        """Pseudo key points P: C distances each, as many as fill whole groups."""
        group = max((len(names) for names in groups_of(self.config).values()), default=1)
        return -(-self.distances // (self.channels * group)) * group

    def names(self) -> tuple[str, ...]:
        """Names along the key point axis of the input, (K + P)."""
        return (*self.selection.keypoints, *(f"distances_{n + 1}" for n in range(self.packed)))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups along the key point axis of the input; distances are groups of their own."""
        groups = groups_of(self.config)
        size = max((len(names) for names in groups.values()), default=0)
        extra = self.names()[self.keypoints :]
        for number, start in enumerate(range(0, len(extra), size) if size else ()):
            groups[f"distance_group_{number + 1}"] = extra[start : start + size]
        return groups

    def store(self, positions: np.ndarray, fps: float) -> np.ndarray:
        """Frames as they are kept in memory.

        Args:
            positions: float32 (T, I, K, D).
            fps: Frames per second; velocities are per second.

        Returns:
            float32 (T, I, K + A, C).
        """
        anchors = anchor_points(positions, self.config.normalisation, self._axis())
        points = np.concatenate([positions, anchors], axis=2)
        if "velocities" not in self.config.features:
            return points
        return np.concatenate([points, _velocities(points, fps)], axis=-1)

    def fit(self, stored: list[np.ndarray], window: int) -> Statistics:
        """Statistics of training recordings (T, I, K + A, C)."""
        D, K = self.selection.dimensions, self.keypoints
        positions = [frames[..., :K, :D] for frames in stored]
        middle, extent = fit_space(positions)
        aligned, velocities, distances = [], [], []
        for frames in stored:
            here, moving = self._aligned(torch.from_numpy(frames))
            aligned.append(here.numpy())
            velocities.append(moving.numpy())
            distances.append(self._distances(torch.from_numpy(frames)).flatten(0, 1).numpy())
        center, scale = fit_center_scale(self.config.normalisation, positions, aligned, window)
        has_velocities = "velocities" in self.config.features
        mean, deviation = _moments(np.concatenate(distances))
        return Statistics(
            middle=middle.tolist(),
            extent=extent,
            center=center.tolist(),
            scale=scale.tolist(),
            velocity_scale=spread(velocities) if has_velocities else 1.0,
            distance_mean=mean.tolist(),
            distance_scale=deviation.tolist(),
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Stored frames (..., T, I, K + A, C) -> network input (..., T, I, F)."""
        fitted = self.statistics
        assert fitted is not None
        positions, velocities = self._aligned(x)
        positions = (positions - x.new_tensor(fitted.center)) / x.new_tensor(fitted.scale)
        points = torch.cat([positions, velocities / fitted.velocity_scale], dim=-1)
        if self.packed:
            points = torch.cat([points, self._pack(self._distances(x), fitted)], dim=-2)
        # Windows are centred first where they are, or the clip would depend on the place.
        centred_later = self.config.normalisation == "window"
        return points.flatten(-2) if centred_later else self._clipped(points.flatten(-2))

    def centre_windows(self, x: torch.Tensor) -> torch.Tensor:
        """Network input (B, T, I, F) with the positions relative to the window's median point."""
        D, K = self.selection.dimensions, self.keypoints
        points = x.unflatten(-1, (-1, self.channels)).clone()
        points[..., :K, :D] = window_centred(points[..., :K, :D])
        return self._clipped(points.flatten(-2))

    def _clipped(self, x: torch.Tensor) -> torch.Tensor:
        limit = self.config.clip
        return x if limit is None else x.clamp(-limit, limit)  # NaN stays NaN

    def _aligned(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions and velocities (..., I, K, D) relative to the anchors; velocities may be 0."""
        D, K = self.selection.dimensions, self.keypoints
        points, anchors = x[..., :K, :], x[..., K:, :D]
        if points.shape[-1] == D:  # no velocities: an empty one that can still be joined
            positions, _ = align(points, points, anchors, self._reference())
            return positions, points[..., :0]
        return align(points[..., :D], points[..., D:], anchors, self._reference())

    def _distances(self, x: torch.Tensor) -> torch.Tensor:
        """Distances (..., I, n): within the individual, then to the nearest other individual."""
        positions = x[..., : self.keypoints, : self.selection.dimensions]
        columns = [positions[..., :0, 0]]
        if "distances" in self.config.features:
            columns += [
                (positions[..., a, :] - positions[..., b, :]).norm(dim=-1)[..., None]
                for a, b in map(self._pair, self.config.distances_within)
            ]
            columns += [
                _nearest(positions[..., a, :], positions[..., b, :])[..., None]
                for a, b in map(self._pair, self.config.distances_between)
            ]
        return torch.cat(columns, dim=-1)

    def _pack(self, distances: torch.Tensor, fitted: Statistics) -> torch.Tensor:
        """Standardised distances (..., I, n) as pseudo key points (..., I, P, C).

        The places that are left over repeat the distances from the first one on.
        """
        mean, scale = (
            distances.new_tensor(fitted.distance_mean),
            distances.new_tensor(fitted.distance_scale),
        )
        standard = (distances - mean) / scale
        places = torch.arange(self.packed * self.channels, device=distances.device)
        repeated = standard[..., places % self.distances]
        return repeated.unflatten(-1, (self.packed, self.channels))

    def _axis(self) -> list[int]:
        if self.config.normalisation != "egocentric":
            return []
        return [self._column(name) for name in self.config.axis]

    def _reference(self) -> int | None:
        name = self.config.reference
        if name is None:
            return None
        if name not in self.selection.individuals:
            hint = suggest(name, self.selection.individuals)
            raise UserError(f"data.reference={name}: no such individual; {hint}")
        return self.selection.individuals.index(name)

    def _pair(self, names: list[str]) -> tuple[int, int]:
        first, second = (self._column(name) for name in names)
        return first, second

    def _column(self, name: str) -> int:
        if name not in self.selection.keypoints or name == PAD:
            hint = suggest(name, (k for k in self.selection.keypoints if k != PAD))
            raise UserError(f"data: key point {name!r} is not among those used; {hint}")
        return self.selection.keypoints.index(name)


def _velocities(points: np.ndarray, fps: float) -> np.ndarray:
    """Difference to the frame before, per second; the first frame takes that of the second."""
    if len(points) < 2:
        return np.where(np.isnan(points), np.nan, 0).astype(np.float32)
    difference = np.diff(points, axis=0) * np.float32(fps)
    return np.concatenate([difference[:1], difference])


def _nearest(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Distance (..., I) from each individual's point to the nearest of the others' (..., I, D)."""
    apart = (own[..., :, None, :] - other[..., None, :, :]).norm(dim=-1)
    itself = torch.eye(apart.shape[-1], dtype=torch.bool, device=apart.device)
    apart = torch.where(itself | apart.isnan(), torch.inf, apart)
    nearest = apart.amin(-1)
    return torch.where(nearest.isinf(), torch.nan, nearest)


def _moments(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, missing aside."""
    seen = ~np.isnan(distances)
    count = np.maximum(seen.sum(0), 1)
    values = np.where(seen, distances, 0).astype(np.float64)
    mean = values.sum(0) / count
    deviation = np.sqrt((np.where(seen, values - mean, 0) ** 2).sum(0) / count)
    return mean, np.where(deviation > 0, deviation, 1.0)
