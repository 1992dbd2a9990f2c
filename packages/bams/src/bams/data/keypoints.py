"""Plain values of every frame and their changes: the features of flies, quadrupeds and own arrays.

Letters: S sequences, L frames, D values of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bams.data.features import Features
from bams.data.maths import change


def keypoint_features(keypoints: np.ndarray) -> Features:
    """States and actions of sequences of values.

    A missing value becomes 0 in the input, and so the jumps at the borders of a gap are ordinary
    changes there; only ``ignored`` keeps such frames out of the targets.

    Args:
        keypoints: (S, L, D), NaN = missing or padding. Whole numbers are taken as float64.

    Returns:
        ``inputs`` (S, L, 2 D) values then changes, ``targets`` = the changes (S, L, D), in the
        precision of the values, and ``ignored`` (S, L): any of the D values is missing.
    """
    dtype = np.result_type(keypoints.dtype, np.float32)
    missing = np.isnan(keypoints)
    states = np.where(missing, 0, keypoints).astype(dtype, copy=False)
    return state_action_features(states, change(states, axis=1), np.asarray(missing.any(-1)))


def state_action_features(
    states: np.ndarray, actions: np.ndarray, ignored: np.ndarray | None = None
) -> Features:
    """Values (S, L, D) with given actions (S, L, M) instead of their changes."""
    if ignored is None:
        ignored = np.zeros(states.shape[:2], bool)
    return Features(np.concatenate([states, actions], axis=-1), actions, ignored)


def feature_names(values: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the inputs and of the actions, from those of the D values."""
    changes = tuple(f"change of {name}" for name in values)
    return (*values, *changes), changes
