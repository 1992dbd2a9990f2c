"""What one frame of a data set holds: key points, individuals, values per key point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataShape:
    """The axes of a data set as the network sees them.

    Attributes:
        keypoints: Names in the order of the feature axis (derived ones included).
        individuals: Names in the order of the individual axis.
        channels: Values of one key point in one frame (coordinates, velocities).
        groups: Body parts, name -> key points, contiguous in ``keypoints``; may be empty.
        fps: Frames per second, None where unknown.
    """

    keypoints: tuple[str, ...]
    individuals: tuple[str, ...]
    channels: int
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fps: float | None = None

    @property
    def features(self) -> int:
        """Values of one individual in one frame."""
        return len(self.keypoints) * self.channels
