"""hBABEL: human motion capture (AMASS) with the labels of BABEL, 25 joints in 3-D at 30 Hz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from behaviorzoo.errors import UserError
from hbehavemae.augment import HumanAugment
from hbehavemae.data.benchmark_files import Split
from hbehavemae.data.config import DataConfig
from hbehavemae.data.sequences import FeatureSequence, Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset
from hbehavemae.prepare.poses import Motion, has_motions, read_motions

if TYPE_CHECKING:
    from hbehavemae.model import ModelConfig

# fmt: off
KEYPOINTS = (
    "base_of_spine", "middle_of_spine", "neck", "head",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
    "spine", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
)
GROUPS = {
    "left_arm": ("left_elbow", "left_wrist", "left_hand", "left_hand_tip", "left_thumb"),
    "right_arm": ("right_elbow", "right_wrist", "right_hand", "right_hand_tip", "right_thumb"),
    "left_leg": ("left_shoulder", "left_hip", "left_knee", "left_ankle", "left_foot"),
    "right_leg": ("right_shoulder", "right_hip", "right_knee", "right_ankle", "right_foot"),
    "trunk": ("base_of_spine", "middle_of_spine", "neck", "head", "spine"),
}
# fmt: on
"""The original's order of joints; the shoulders stand with the legs."""

ORDER = [KEYPOINTS.index(name) for names in GROUPS.values() for name in names]
FPS = 30.0


def shape(config: DataConfig) -> DataShape:
    """Axes of the data set; no file is read."""
    names = tuple(KEYPOINTS[index] for index in ORDER)
    return DataShape(names, ("person",), channels=3, groups=GROUPS, fps=FPS)


def has_test(config: DataConfig) -> bool:
    """Whether the validation split, which serves as test split, is there."""
    given = config.test_path or config.path
    return isinstance(given, str) and has_motions(given, "val", config.joints3d_procrustes)


def training_data(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> WindowDataset:
    """Windows of all motions of a split; short ones are continued with their last frame.

    The test split is BABEL's "val"; ``include_test_data`` adds BABEL's "test" to the training.

    Returns:
        Items float32 (T, 1, 75).
    """
    motions = _motions(config, "train" if split == "train" else "val")
    if config.include_test_data and split == "train":
        motions += _motions(config, "test")
    window = model.input_size[0]
    # The augmentations see joints, the network sees features.
    axes = (1, len(ORDER), 3) if config.data_augment else (1, 3 * len(ORDER))
    return WindowDataset(
        [_continued(_ordered(motion), window).reshape(-1, *axes) for motion in motions],
        [motion.name for motion in motions],
        window=window,
        stride=config.sliding_window,
        augment=HumanAugment() if config.data_augment else None,
        finish=_flatten if config.data_augment else None,
    )


def sequences(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> Sequences:
    """Whole motions of a split as (frames, 1, 75) each."""
    motions = _motions(config, "train" if split == "train" else "val")

    def load(index: int) -> FeatureSequence:
        joints = _ordered(motions[index])
        return FeatureSequence(motions[index].name, 0, joints.reshape(len(joints), 1, -1))

    return Sequences([motion.name for motion in motions], load)


def _motions(config: DataConfig, split: str) -> list[Motion]:
    given = config.test_path if split == "val" and config.test_path else config.path
    paths = [given] if isinstance(given, str) else list(given)
    if len(paths) != 1 or not Path(paths[0]).expanduser().is_dir():
        raise UserError(
            f"data.path={given}: hbabel needs the folder of `hbehavemae prepare` or "
            "of the AMASS motions (babel-smplh-30fps-male)"
        )
    return read_motions(paths[0], split, config.joints3d_procrustes)


def _ordered(motion: Motion) -> np.ndarray:
    """Joints (T, 25, 3) in the order of the groups, as many frames as the motion has poses."""
    return motion.joints[: motion.frames, ORDER]


def _continued(joints: np.ndarray, window: int) -> np.ndarray:
    """At least ``window`` frames: the last one is repeated at the end."""
    lacking = max(window - len(joints), 0)
    return np.pad(joints, ((0, lacking), (0, 0), (0, 0)), mode="edge")


def _flatten(x: torch.Tensor) -> torch.Tensor:
    """(B, T, 1, 25, 3) -> (B, T, 1, 75)."""
    return x.flatten(-2)
