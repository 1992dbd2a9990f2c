"""Hand-made features of a clip: what a representation has to beat.

Letters: N clips, C coordinates, T frames, V joints, M persons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hysp.data.dataset import SkeletonData

_ROWS_AT_ONCE = 1024


def hand_features(data: SkeletonData) -> np.ndarray:
    """Mean, standard deviation and mean absolute step of every centred coordinate of a clip.

    Joints are taken relative to the centre joint of the same person and frame; an absent person
    is 0.

    Args:
        data: The clips, as the networks see them.

    Returns:
        float64 (N, 3 * C * V * M).
    """
    centre = data.skeleton.centre
    parts = []
    for rows in np.array_split(np.arange(len(data)), max(-(-len(data) // _ROWS_AT_ONCE), 1)):
        x = data.batch(rows).x.numpy().astype(np.float64)  # (n, C, T, V, M)
        x = x - x[:, :, :, centre : centre + 1]
        speed = np.abs(np.diff(x, axis=2)).mean(axis=2)
        found = np.stack([x.mean(axis=2), x.std(axis=2), speed], axis=1)
        parts.append(found.reshape(len(x), -1))
    return np.concatenate(parts)
