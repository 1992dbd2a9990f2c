"""States and actions of a mouse from 12 key points: 67 input features and 9 actions.

Letters: S sequences (one mouse each), L frames.
"""

from __future__ import annotations

import numpy as np

from bams.data.config import Compat
from bams.data.features import Features
from bams.data.maths import Polar, change, polar, rotated, wrap

# fmt: off
KEYPOINTS = (
    "nose", "ear_left", "ear_right", "neck", "forepaw_left", "forepaw_right",
    "center", "hindpaw_left", "hindpaw_right", "tail_base", "tail_middle", "tail_tip",
)
(NOSE, _, _, NECK, FOREPAW_LEFT, FOREPAW_RIGHT,
 CENTER, HINDPAW_LEFT, HINDPAW_RIGHT, TAIL_BASE, TAIL_MIDDLE, TAIL_TIP) = range(12)
# fmt: on

SLOWEST = 3e-3
"""Velocities below this (units of the coordinates per frame) are noise and count as none."""

TARGETS = (
    "head speed",
    "head direction",
    "head direction change",
    "head turn",
    "body speed",
    "body direction",
    "body direction change",
    "body turn",
    "spine change",
)

Columns = dict[str, np.ndarray]


def mouse_features(keypoints: np.ndarray, compat: Compat = "paper") -> Features:
    """Features of single-mouse sequences, all at once.

    Args:
        keypoints: (S, L, 12, 2) in pixels, 0 where a point is missing.
        compat: ``upstream`` repeats two slips of the original: the head's velocity has its
            change in x twice, and the right forepaw's change of distance is the left one's.

    Returns:
        ``inputs`` float64 (S, L, 67), ``targets`` float64 (S, L, 9) with angles in radians, and
        ``ignored`` bool (S, L): a point is missing in this frame or in the one before.
    """
    points = np.asarray(keypoints, np.float64)
    state = _states(points)
    action = _actions(state, compat)
    ignored = missing_frames(keypoints)
    inputs = np.stack([*_columns(state, action), ignored.astype(np.float64)], axis=-1)
    targets = np.stack([action[name] for name in _TARGET_COLUMNS], axis=-1)
    return Features(inputs, targets, ignored)


def missing_frames(keypoints: np.ndarray) -> np.ndarray:
    """Frames with a missing point, and the ones after them: (S, L, 12, 2) -> bool (S, L).

    A point is missing where its x is exactly 0; y is not looked at, as in the original.
    """
    missing = np.asarray((keypoints[..., 0] == 0).any(axis=-1))
    after = np.zeros_like(missing)
    after[:, 1:] = missing[:, :-1]
    return missing | after


def input_names() -> tuple[str, ...]:
    """Names of the 67 input features."""
    names: list[str] = []
    for name, angle in _INPUTS:
        names += [f"cos {name}", f"sin {name}"] if angle else [name]
    return (*names, "a point is missing")


def _states(points: np.ndarray) -> Columns:
    """Positions, distances and angles in every frame, (S, L) each."""
    # The change of coordinates goes along the last axis, so that every column is contiguous.
    x, y = np.ascontiguousarray(points[..., 0].T), np.ascontiguousarray(points[..., 1].T)
    x, y = x.swapaxes(1, 2), y.swapaxes(1, 2)  # (12, S, L)

    def vector(to: int, origin: int) -> Polar:
        return polar(x[to] - x[origin], y[to] - y[origin])

    state: Columns = {
        "head x": x[NECK],
        "head y": y[NECK],
        "body x": x[CENTER],
        "body y": y[CENTER],
    }
    state["head angle"] = vector(NOSE, NECK).theta
    for name, point in (("left forepaw", FOREPAW_LEFT), ("right forepaw", FOREPAW_RIGHT)):
        _put(state, name, vector(point, NECK))
    state["forepaw angle"] = wrap(state["right forepaw angle"] - state["left forepaw angle"])
    _put(state, "spine", vector(CENTER, NECK))
    state["body angle"] = vector(CENTER, TAIL_BASE).theta

    # Points behind the centre in the body's own frame, which points from tail base to centre.
    behind = slice(HINDPAW_LEFT, TAIL_TIP + 1)
    qx, qy = rotated(x[behind] - x[CENTER], y[behind] - y[CENTER], -state["body angle"])
    left, right, base, middle, tip = range(5)
    _put(state, "left hindpaw", polar(qx[left], qy[left]))
    _put(state, "right hindpaw", polar(qx[right], qy[right]))
    state["tail base distance"] = np.hypot(qx[base], qy[base])
    state["tail angle 1"] = np.arctan2(qy[middle] - qy[base], qx[middle] - qx[base])
    state["tail angle 2"] = np.arctan2(qy[tip] - qy[middle], qx[tip] - qx[middle])
    return state


def _actions(state: Columns, compat: Compat) -> Columns:
    """Changes from frame to frame, (S, L) each."""
    action: Columns = {}
    # upstream: the change of x stands for that of y too.
    head_y = "head x" if compat == "upstream" else "head y"
    _put_velocity(action, "head", change(state["head x"]), change(state[head_y]))
    _put_velocity(action, "body", change(state["body x"]), change(state["body y"]))
    for name in _CHANGING_ANGLES:
        action[f"{name} change"] = wrap(change(state[name]))
    for name in _CHANGING_DISTANCES:
        action[f"{name} change"] = change(state[name])
    if compat == "upstream":  # upstream: the left paw stands for the right one.
        action["right forepaw distance change"] = action["left forepaw distance change"]
    return action


def _put(columns: Columns, name: str, vector: Polar) -> None:
    columns[f"{name} distance"], columns[f"{name} angle"] = vector


def _put_velocity(action: Columns, name: str, vx: np.ndarray, vy: np.ndarray) -> None:
    speed, direction = polar(vx, vy)
    still = speed < SLOWEST
    speed[still] = direction[still] = 0
    action[f"{name} speed"], action[f"{name} direction"] = speed, direction
    action[f"{name} direction change"] = wrap(change(direction))


def _columns(state: Columns, action: Columns) -> list[np.ndarray]:
    columns = []
    for name, angle in _INPUTS:
        values = state[name] if name in state else action[name]
        columns += [np.cos(values), np.sin(values)] if angle else [values]
    return columns


_CHANGING_ANGLES = (
    "head angle",
    "left forepaw angle",
    "right forepaw angle",
    "forepaw angle",
    "body angle",
    "left hindpaw angle",
    "right hindpaw angle",
    "tail angle 1",
    "tail angle 2",
    "spine angle",
)
_CHANGING_DISTANCES = (
    "left forepaw distance",
    "right forepaw distance",
    "left hindpaw distance",
    "right hindpaw distance",
    "tail base distance",
    "spine distance",
)
_TARGET_COLUMNS = (
    "head speed",
    "head direction",
    "head direction change",
    "head angle change",
    "body speed",
    "body direction",
    "body direction change",
    "body angle change",
    "spine distance change",
)
# Name and whether it is an angle, which enters as cosine and sine: the order of the 66 columns.
_INPUTS: tuple[tuple[str, bool], ...] = (
    ("head x", False),
    ("head y", False),
    ("head angle", True),
    ("left forepaw distance", False),
    ("left forepaw angle", True),
    ("right forepaw distance", False),
    ("right forepaw angle", True),
    ("forepaw angle", True),
    ("body x", False),
    ("body y", False),
    ("body angle", True),
    ("left hindpaw distance", False),
    ("left hindpaw angle", True),
    ("right hindpaw distance", False),
    ("right hindpaw angle", True),
    ("tail base distance", False),
    ("tail angle 1", True),
    ("tail angle 2", True),
    ("spine distance", False),
    ("spine angle", True),
    ("head speed", False),
    ("head direction", True),
    ("head direction change", True),
    ("head angle change", True),
    ("left forepaw distance change", False),
    ("left forepaw angle change", True),
    ("right forepaw distance change", False),
    ("right forepaw angle change", True),
    ("forepaw angle change", True),
    ("body speed", False),
    ("body direction", True),
    ("body direction change", True),
    ("body angle change", True),
    ("left hindpaw distance change", False),
    ("left hindpaw angle change", True),
    ("right hindpaw distance change", False),
    ("right hindpaw angle change", True),
    ("tail angle 1 change", True),
    ("tail angle 2 change", True),
    ("tail base distance change", False),
    ("spine distance change", False),
    ("spine angle change", True),
)
