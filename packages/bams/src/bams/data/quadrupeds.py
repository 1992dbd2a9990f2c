"""Simulated quadrupeds: joint positions are the states, joint velocities the actions.

``robot_dataset.npy`` is a dictionary of arrays. Its authors describe trajectories (S, T, F) and
write (S, F, T); both are read. ``bams prepare quadrupeds`` makes the file from the simulator's.

Letters: S trajectories, T frames, F values of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bams.data.config import Compat, DataConfig
from bams.data.features import Source
from bams.data.keypoints import state_action_features
from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.mabe import load_dictionary, required

STATE, ACTION = "dof_pos", "dof_vel"
JOINTS = 12
FPS = 50.0
TAGS = {
    # name: (key of the file, about classes, about whole trajectories)
    "robot_type": ("robot_type", True, True),
    "linear_velocity": ("command_vel", False, True),
    "terrain_type": ("terrain_type", True, False),
    "terrain_slope": ("terrain_slope", False, False),
    "terrain_difficulty": ("terrain_difficulty", False, False),
}
"""The published labels."""


def quadrupeds(config: DataConfig, compat: Compat, state: Mapping[str, Any]) -> Source:
    """All trajectories of ``robot_dataset.npy``, each a recording of its own."""
    ((path, _),) = data_files(config)
    content = load_dictionary(path, memory_map=True)
    states, actions = (time_major(content, name, path) for name in (STATE, ACTION))
    if states.shape != actions.shape:
        raise UserError(f"{path}: {STATE} {states.shape} and {ACTION} {actions.shape} differ")
    joints = _joint_names(content, states.shape[-1])
    return Source(
        names=trajectory_names(content, len(states)),
        lengths=[states.shape[1]] * len(states),
        is_train=[True] * len(states),
        individuals=("robot",),
        input_names=(*joints, *(f"velocity of {joint}" for joint in joints)),
        target_names=tuple(f"velocity of {joint}" for joint in joints),
        load=lambda index: state_action_features(
            states[index : index + 1], actions[index : index + 1]
        ),
        target_columns=slice(len(joints), 2 * len(joints)),
        state={"fps": FPS},
    )


def quadruped_annotations(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The published labels, in the form of the authors' ``load_annotations``.

    Returns:
        Tag -> (S,) or (S, T), and a dictionary with ``classification_tags``, ``regression_tags``
        and ``sequence_level_dict``.

    Raises:
        UserError: Not such a file, or a key is missing.
    """
    content = load_dictionary(path, memory_map=True)
    annotations = {
        tag: np.asarray(required(content, key, path)).astype(np.int64 if classes else np.float64)
        for tag, (key, classes, _) in TAGS.items()
    }
    return annotations, {
        "classification_tags": [tag for tag, (_, classes, _) in TAGS.items() if classes],
        "regression_tags": [tag for tag, (_, classes, _) in TAGS.items() if not classes],
        "sequence_level_dict": {tag: whole for tag, (_, _, whole) in TAGS.items()},
    }


def time_major(content: Mapping[str, Any], name: str, path: str | Path) -> np.ndarray:
    """A trajectory array of the file as (S, T, F), whichever way it lies there.

    Raises:
        UserError: No such array, or not three axes.
    """
    array = required(content, name, path)
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.dtype.kind != "f":
        shape = np.shape(array)
        raise UserError(
            f"{path}: {name} has the shape {shape}, expected (trajectories, frames, 12)"
        )
    feature_major = array.shape[1] in (3, JOINTS) and array.shape[2] > array.shape[1]
    return array.swapaxes(1, 2) if feature_major else array


def trajectory_names(content: Mapping[str, Any], count: int) -> list[str]:
    """Names such as ``anymal_b_0000``: the robot's, where the file tells it, and the number."""
    kinds = np.asarray(content.get("robot_type", np.full(count, -1))).astype(np.int64)
    names = content.get("names", {})
    robots = list(names.get("robot_names", [])) if isinstance(names, Mapping) else []
    known = [robots[kind] if 0 <= kind < len(robots) else "robot" for kind in kinds]
    return [f"{robot}_{number:04d}" for number, robot in enumerate(known)]


def _joint_names(content: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = content.get("names", {})
    joints = list(names.get("dof_names", [])) if isinstance(names, Mapping) else []
    if len(joints) == count:
        return tuple(map(str, joints))
    return tuple(f"joint {number + 1}" for number in range(count))


def data_files(config: DataConfig) -> list[tuple[Path, bool]]:
    """The file of the configuration, as a list like that of other data."""
    paths = [config.path] if isinstance(config.path, str) else config.path
    if len(paths) != 1 or not paths[0]:
        raise UserError("data.path: give one file, robot_dataset.npy, or its folder")
    path = Path(paths[0]).expanduser()
    file = path / "robot_dataset.npy" if path.is_dir() else path
    return [(existing_file(file, "quadruped data set"), True)]
