"""From stored coordinates of recordings to normalised features, in batched torch.

What is stored for every frame and individual is (K + A, C): the key points and the anchors of the
normalisation, each with its position and, on request, its velocity. Augmentations work on
that; a method makes its network's input of :meth:`PoseFeatures.vectors` and
:meth:`PoseFeatures.scalars`. The same object serves training windows, whole recordings and later
embedding runs, so that they cannot differ.

Legend: T frames, I individuals, K key points, A anchors, D coordinates, C = D, or 2 D with
velocities, n scalars (distances, then speeds) of one individual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.poses.config import PoseConfig
from behaviorzoo.poses.normalise import (
    Statistics,
    align,
    anchor_points,
    fit_center_scale,
    fit_space,
    spread,
)
from behaviorzoo.poses.scalars import between, expand_pairs, moments, speeds, typical, within
from behaviorzoo.poses.selection import PAD, Selection


@dataclass(frozen=True)
class PoseFeatures:
    """How stored coordinates become normalised features.

    Attributes:
        config: Normalisation and features.
        selection: Names of the axes.
        statistics: Fitted numbers; None only while they are being fitted.
    """

    config: PoseConfig
    selection: Selection
    statistics: Statistics | None = None

    @property
    def keypoints(self) -> int:
        """Key points K, padding included."""
        return len(self.selection.keypoints)

    @property
    def n_scalars(self) -> int:
        """Distances and speeds n of one individual."""
        speeds = self.keypoints if "speeds" in self.config.features else 0
        if "distances" not in self.config.features:
            return speeds
        return len(self._pairs_within()) + len(self._pairs_between()) + speeds

    def scalar_names(self) -> tuple[str, ...]:
        """Names of the distances and speeds, in order."""
        points, names = self.selection.keypoints, []
        if "distances" in self.config.features:
            names += [f"{points[a]} to {points[b]}" for a, b in self._pairs_within()]
            names += [f"{points[a]} to other's {points[b]}" for a, b in self._pairs_between()]
        if "speeds" in self.config.features:
            names += [f"speed of {point}" for point in points]
        return tuple(names)

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
        if not {"velocities", "speeds"} & set(self.config.features):
            return points
        moving = _velocities(points, fps, self.config.velocity_frames)
        return np.concatenate([points, moving], axis=-1)

    def fit(self, stored: list[np.ndarray], window: int) -> Statistics:
        """Statistics of training recordings (T, I, K + A, C).

        Args:
            stored: From :meth:`store`.
            window: Frames of a window, for ``normalisation=window``.
        """
        D, K = self.selection.dimensions, self.keypoints
        positions = [frames[..., :K, :D] for frames in stored]
        middle, extent = fit_space(positions)
        aligned, velocities, scalars = [], [], []
        for frames in stored:
            here, moving = self._aligned(torch.from_numpy(frames))
            aligned.append(here.numpy())
            velocities.append(moving.numpy())
            scalars.append(self._raw_scalars(torch.from_numpy(frames)).flatten(0, 1).numpy())
        center, scale = fit_center_scale(self.config.normalisation, positions, aligned, window)
        has_velocities = "velocities" in self.config.features
        values = np.concatenate(scalars)
        unit = typical(values) if self.config.log_distances else np.ones(values.shape[-1])
        mean, deviation = moments(np.log1p(values / unit) if self.config.log_distances else values)
        return Statistics(
            middle=middle.tolist(),
            extent=extent,
            center=center.tolist(),
            scale=scale.tolist(),
            velocity_scale=spread(velocities) if has_velocities else 1.0,
            distance_mean=mean.tolist(),
            distance_scale=deviation.tolist(),
            distance_unit=unit.tolist(),
        )

    def vectors(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised positions and velocities, as far as they are among the features.

        Args:
            x: Stored frames (..., T, I, K + A, C).

        Returns:
            (..., T, I, K, C') with C' = D, 2 D or 0.
        """
        fitted = self._fitted()
        positions, velocities = self._aligned(x)
        positions = (positions - x.new_tensor(fitted.center)) / x.new_tensor(fitted.scale)
        known = {"positions": positions, "velocities": velocities / fitted.velocity_scale}
        parts = [known[name] for name in known if name in self.config.features]
        return torch.cat(parts, dim=-1) if parts else positions[..., :0]

    def scalars(self, x: torch.Tensor) -> torch.Tensor:
        """Standardised distances and speeds (..., T, I, n) of stored frames."""
        fitted = self._fitted()
        values = self._raw_scalars(x)
        if self.config.log_distances:
            values = torch.log1p(values / values.new_tensor(fitted.distance_unit))
        mean = values.new_tensor(fitted.distance_mean)
        return (values - mean) / values.new_tensor(fitted.distance_scale)

    def clipped(self, x: torch.Tensor) -> torch.Tensor:
        """Features limited to +-``data.clip``; missing values stay missing."""
        limit = self.config.clip
        return x if limit is None else x.clamp(-limit, limit)

    def _fitted(self) -> Statistics:
        assert self.statistics is not None
        return self.statistics

    def _aligned(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions and velocities (..., I, K, D) relative to the anchors; velocities may be 0."""
        D, K = self.selection.dimensions, self.keypoints
        points, anchors = x[..., :K, :], x[..., K:, :D]
        if points.shape[-1] == D:  # no velocities: an empty one that can still be joined
            positions, _ = align(points, points, anchors, self._reference())
            return positions, points[..., :0]
        return align(points[..., :D], points[..., D:], anchors, self._reference())

    def _raw_scalars(self, x: torch.Tensor) -> torch.Tensor:
        """Distances within, then to the nearest other individual, then speeds: (..., I, n)."""
        D, K = self.selection.dimensions, self.keypoints
        positions = x[..., :K, :D]
        columns = [positions[..., :0, 0]]
        if "distances" in self.config.features:
            columns += [within(positions, self._pairs_within())]
            columns += [between(positions, self._pairs_between())]
        if "speeds" in self.config.features:
            columns += [speeds(x[..., :K, D:])]
        return torch.cat(columns, dim=-1)

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

    def _pairs_within(self) -> list[tuple[int, int]]:
        return self._pairs(self.config.distances_within, ordered=False)

    def _pairs_between(self) -> list[tuple[int, int]]:
        return self._pairs(self.config.distances_between, ordered=True)

    def _pairs(self, pairs: list[list[str]], *, ordered: bool) -> list[tuple[int, int]]:
        names = [name for name in self.selection.keypoints if name != PAD]
        found = expand_pairs(pairs, names, ordered=ordered)
        return [(self._column(first), self._column(second)) for first, second in found]

    def _column(self, name: str) -> int:
        if name not in self.selection.keypoints or name == PAD:
            hint = suggest(name, (k for k in self.selection.keypoints if k != PAD))
            raise UserError(f"data: key point {name!r} is not among those used; {hint}")
        return self.selection.keypoints.index(name)


def _velocities(points: np.ndarray, fps: float, frames: int) -> np.ndarray:
    """Change since ``frames`` frames before, per second; the first frames take that of the next."""
    if len(points) <= frames:
        return np.where(np.isnan(points), np.nan, 0).astype(np.float32)
    change = (points[frames:] - points[:-frames]) * np.float32(fps / frames)
    return np.concatenate([np.repeat(change[:1], frames, axis=0), change])
