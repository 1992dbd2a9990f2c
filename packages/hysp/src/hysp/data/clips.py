"""One clip: a stretch of a recording, resized, centred, turned; its missing points dealt with.

Letters: L recorded frames, T frames of a clip, I individuals (persons M of a sample), K key points
(joints V), D coordinates (C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from behaviorzoo.errors import UserError
from hysp.data.config import ClipConfig
from hysp.data.frames50 import resize
from hysp.data.skeleton import Skeleton

TYPICAL_DISTANCE = 0.5
"""Root mean square distance of a person's joints from the centre, in metres: the unit of clips."""


class DroppedClip(Exception):  # noqa: N818 - not an error: the reason goes to the report
    """This stretch makes no clip; the message is the reason."""


@dataclass(frozen=True)
class ClipMaker:
    """Makes clips of stretches, all alike.

    Attributes:
        config: What is done.
        skeleton: Names of the joints.
        individuals: Names of the individuals.
        dimensions: Coordinates D.
    """

    config: ClipConfig
    skeleton: Skeleton
    individuals: tuple[str, ...]
    dimensions: int

    def make(self, positions: np.ndarray, where: str, first_frame: int) -> np.ndarray:
        """Make a clip; coordinates keep their unit.

        Args:
            positions: float32 (L, I, K, D), missing points NaN.
            where: File or recording, for messages.
            first_frame: The source's number of the first frame, for messages.

        Returns:
            float32 (D, T, K, I); an absent individual is 0.

        Raises:
            DroppedClip: Too short, nobody there, or missing points (by the policy).
            UserError: Missing points, and the policy is ``error``.
        """
        if len(positions) < self.config.min_frames:
            raise DroppedClip(f"shorter than {self.config.min_frames} frames")
        there = self._present(positions)
        if not there.any():
            raise DroppedClip("nobody in any frame")
        whole = np.zeros_like(positions)
        whole[:, there] = self._complete(positions[:, there], there, where, first_frame)
        x = whole.transpose(3, 0, 2, 1)[None]  # (1, D, L, K, I)
        x = resize(x, np.array([len(positions)]), self.config.frames)[0]
        x = self._turned(self._centred(x, there), there)
        return np.where(there, x, 0).astype(np.float32)

    def _present(self, positions: np.ndarray) -> np.ndarray:
        """Which individuals are there at all: boolean (I,)."""
        share = np.logical_not(np.isnan(positions).any(-1)).mean(axis=(0, 2))
        return (share > 0) & (share >= self.config.min_observed)

    def _complete(
        self, positions: np.ndarray, there: np.ndarray, where: str, first_frame: int
    ) -> np.ndarray:
        """Positions (L, i, K, D) of those present, without a missing point."""
        missing = np.isnan(positions[..., 0])  # (L, i, K); a point is missing as a whole
        if not missing.any():
            return positions
        if self.config.missing == "error":
            raise UserError(self._complaint(missing, there, where, first_frame))
        if self.config.missing != "fill":
            raise DroppedClip("missing points")
        never = missing.all(axis=0)  # (i, K)
        if never.any():
            joint = self.skeleton.joints[int(np.argwhere(never)[0][1])]
            raise DroppedClip(f"{joint} is never seen in it")
        filled = positions.copy()
        for i, k in np.argwhere(missing.any(axis=0)):
            seen = np.flatnonzero(~missing[:, i, k])
            for d in range(positions.shape[3]):
                filled[:, i, k, d] = np.interp(
                    np.arange(len(positions)), seen, positions[seen, i, k, d]
                )
        return filled

    def _complaint(
        self, missing: np.ndarray, there: np.ndarray, where: str, first_frame: int
    ) -> str:
        frame, i, k = np.argwhere(missing)[0]
        name = np.array(self.individuals)[there][i]
        return (
            f"{where}: {self.skeleton.joints[k]} of {name} is missing at frame "
            f"{first_frame + frame} ({missing.mean():.1%} of the points of this clip of "
            f"{len(missing)} frames); choose data.clips.missing=drop, interpolate or fill, or "
            "joints that are seen with data.clips.keypoints"
        )

    def _centred(self, x: np.ndarray, there: np.ndarray) -> np.ndarray:
        """(D, T, K, I) relative to the centre joint."""
        if self.config.centring == "none":
            return x
        centre = x[:, :, self.skeleton.centre].astype(np.float64)  # (D, T, I)
        if self.config.centring == "clip":
            centre = centre.mean(axis=1, keepdims=True)
        return x - self._of_reference(centre, there)[:, :, None]

    def _turned(self, x: np.ndarray, there: np.ndarray) -> np.ndarray:
        """(D, T, K, I) with the heading along +x."""
        if not self.config.heading or self.config.align == "none":
            return x
        start, end = (self.skeleton.joints.index(name) for name in self.config.heading)
        heading = x[:, :, end].astype(np.float64) - x[:, :, start]  # (D, T, I)
        if self.config.align == "clip":
            heading = heading[:, :1]
        a, b = self._plane()
        heading = self._of_reference(heading, there)
        angle = np.arctan2(heading[b], heading[a])[:, None]  # (T or 1, 1, I)
        out = x.copy()
        out[a] = np.cos(angle) * x[a] + np.sin(angle) * x[b]
        out[b] = np.cos(angle) * x[b] - np.sin(angle) * x[a]
        return out

    def _plane(self) -> tuple[int, int]:
        """The two axes of the ground."""
        if self.dimensions == 2:
            return 0, 1
        return {"x": (1, 2), "y": (0, 2), "z": (0, 1)}[self.config.up]

    def _of_reference(self, values: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Values (..., I), those of the reference individual for all if there is one."""
        if not self.config.reference:
            return values
        at = self.individuals.index(self.config.reference)
        if not there[at]:
            raise DroppedClip(f"{self.config.reference} (data.clips.reference) is not in it")
        return values[..., at : at + 1]


def fitted_scale(clips: np.ndarray, centre: int) -> float:
    """Factor that brings joints to :data:`TYPICAL_DISTANCE` from the centre (root mean square).

    Args:
        clips: (N, C, T, V, M) before scaling.
        centre: The centre joint.
    """
    apart = clips - clips[:, :, :, centre : centre + 1]
    there = (clips != 0).any(axis=(1, 2, 3))  # (N, M)
    squares = (apart.astype(np.float64) ** 2).sum(axis=1).mean(axis=(1, 2))  # (N, M)
    spread = float(np.sqrt(squares[there].mean())) if there.any() else 0.0
    return TYPICAL_DISTANCE / spread if spread > 0 else 1.0
