"""From stored coordinates of recordings to this network's input, in batched torch.

Every place along the key point axis of the network has equally many values. Distances and speeds
therefore enter packed into pseudo key points.

Legend: B windows, T frames, I individuals, K key points, A anchors, D coordinates, C channels of
a key point (D, or 2 D with velocities), n scalars (distances, speeds), P of them packed,
F = (K + P) C features; without positions and velocities F = n.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from behaviorzoo.poses.features import PoseFeatures
from behaviorzoo.poses.normalise import window_centred
from hbehavemae.data.config import DataConfig


@dataclass(frozen=True)
class TokenFeatures(PoseFeatures):
    """Features laid out for the network's tokens.

    Attributes:
        config: Normalisation, features and groups.
        selection: Names of the axes.
        statistics: Fitted numbers; None only while they are being fitted.
    """

    config: DataConfig

    @property
    def channels(self) -> int:
        """Values C of one place along the key point axis."""
        return self._vectors * self.selection.dimensions or 1

    @property
    def _vectors(self) -> int:
        """Vectors that describe a key point: its position, its velocity, both or neither."""
        return len({"positions", "velocities"} & set(self.config.features))

    @property
    def packed(self) -> int:
        """Pseudo key points P: C scalars each, as many as fill whole groups."""
        group = max((len(names) for names in self.config.padded_groups().values()), default=1)
        return -(-self.n_scalars // (self.channels * group)) * group

    def names(self) -> tuple[str, ...]:
        """Names along the key point axis of the input, (K + P)."""
        if not self._vectors:
            return self.scalar_names()
        kinds = "_".join(f for f in self.config.features if f in ("distances", "speeds"))
        return (*self.selection.keypoints, *(f"{kinds}_{n + 1}" for n in range(self.packed)))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups along the key point axis of the input; distances are groups of their own."""
        groups = self.config.padded_groups()
        size = max((len(names) for names in groups.values()), default=0)
        extra = self.names()[self.keypoints :]
        for number, start in enumerate(range(0, len(extra), size) if size else ()):
            groups[f"distance_group_{number + 1}"] = extra[start : start + size]
        return groups

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Stored frames (..., T, I, K + A, C) -> network input (..., T, I, F)."""
        points = self.vectors(x) if self._vectors else x[..., :0, :1]
        if self.packed:
            points = torch.cat([points, self._pack(self.scalars(x))], dim=-2)
        # Windows are centred first where they are, or the clip would depend on the place.
        centred_later = self.config.normalisation == "window"
        return points.flatten(-2) if centred_later else self.clipped(points.flatten(-2))

    def centre_windows(self, x: torch.Tensor) -> torch.Tensor:
        """Network input (B, T, I, F) with the positions relative to the window's median point."""
        D, K = self.selection.dimensions, self.keypoints
        if "positions" not in self.config.features:
            return self.clipped(x)
        points = x.unflatten(-1, (-1, self.channels)).clone()
        points[..., :K, :D] = window_centred(points[..., :K, :D])
        return self.clipped(points.flatten(-2))

    def _pack(self, scalars: torch.Tensor) -> torch.Tensor:
        """Standardised scalars (..., I, n) as pseudo key points (..., I, P, C).

        The places that are left over repeat the scalars from the first one on.
        """
        places = torch.arange(self.packed * self.channels, device=scalars.device)
        repeated = scalars[..., places % self.n_scalars]
        return repeated.unflatten(-1, (self.packed, self.channels))
