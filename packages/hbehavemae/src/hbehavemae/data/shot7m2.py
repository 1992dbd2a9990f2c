"""Shot7M2: simulated basketball players, 26 key points in 3-D (spec of the benchmark's files)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from behaviorzoo.errors import UserError
from hbehavemae.augment import BatchNoise
from hbehavemae.data.benchmark_files import Split, benchmark_file, has_test_file
from hbehavemae.data.config import DataConfig
from hbehavemae.data.sequences import FeatureSequence, Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset, edge_padding, pad_edges

if TYPE_CHECKING:
    from hbehavemae.model import ModelConfig

FILES = {
    split: (f"{split}/{split}_dictionary_poses.npy", f"{split}_dictionary_poses.npy")
    for split in ("train", "test")
}

# fmt: off
KEYPOINTS = (
    "center", "l_hip", "l_knee", "l_ankle", "l_foot", "l_toes",
    "r_hip", "r_knee", "r_ankle", "r_foot", "r_toes", "lumbars",
    "low_thorax", "high_thorax", "cervicals", "l_shoulder_blade", "l_shoulder", "l_elbow",
    "l_wrist", "neck", "head", "head_top", "r_shoulder_blade", "r_shoulder",
    "r_elbow", "r_wrist",
)
# fmt: on

GROUPS = {
    "trunk": ("center", "l_hip", "r_hip", "lumbars"),
    "left_leg": ("l_knee", "l_ankle", "l_foot", "l_toes"),
    "right_leg": ("r_knee", "r_ankle", "r_foot", "r_toes"),
    "head": ("cervicals", "neck", "head", "head_top"),
    "left_arm": ("l_shoulder_blade", "l_shoulder", "l_elbow", "l_wrist"),
    "right_arm": ("r_shoulder_blade", "r_shoulder", "r_elbow", "r_wrist"),
}
"""Six body parts of four joints; the two thorax points are dropped, as in the paper."""

ORDER = [KEYPOINTS.index(name) for names in GROUPS.values() for name in names]
NOISE_PROBABILITY, NOISE_SIGMA = 0.5, 2.0


def shape(config: DataConfig) -> DataShape:
    """Axes of the data set; no file is read."""
    names = tuple(KEYPOINTS[index] for index in joint_order(config))
    return DataShape(names, ("player",), channels=3, groups=GROUPS if config.body_parts else {})


def has_test(config: DataConfig) -> bool:
    """Whether there is a test file beside the training file."""
    return has_test_file(config, FILES)


def training_data(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> WindowDataset:
    """Windows of all episodes of a split, edge-padded, raw coordinates.

    Args:
        config: Where the data are; ``include_test_data`` appends the test episodes
            (``compat=upstream``: they replace the training episodes, as in the original).
        model: Gives the window.
        split: "train" or "test".
        state: Not needed here.

    Returns:
        Items float32 (T, 1, 72), or (T, 1, 78) without ``body_parts``.
    """
    episodes = read_poses(benchmark_file(config, split, FILES))
    if config.include_test_data and split == "train":
        test = read_poses(benchmark_file(config, "test", FILES))
        episodes = test if config.compat == "upstream" else episodes + test
    window, order = model.input_size[0], joint_order(config)
    front, behind = edge_padding(window)
    return WindowDataset(
        [pad_edges(select_joints(poses, order), front, behind) for _, poses in episodes],
        [name for name, _ in episodes],
        window=window,
        stride=config.sliding_window,
        augment=BatchNoise(NOISE_PROBABILITY, NOISE_SIGMA) if config.data_augment else None,
    )


def sequences(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> Sequences:
    """Whole episodes of a split as (1800, 1, F) each."""
    episodes = read_poses(benchmark_file(config, split, FILES))

    def load(index: int) -> FeatureSequence:
        name, poses = episodes[index]
        return FeatureSequence(name, 0, select_joints(poses, joint_order(config)))

    return Sequences([name for name, _ in episodes], load)


def joint_order(config: DataConfig) -> list[int]:
    """Joints of the file that the network sees, in its order."""
    return ORDER if config.body_parts else list(range(len(KEYPOINTS)))


def select_joints(poses: np.ndarray, order: list[int]) -> np.ndarray:
    """Joints of (L, I, 26, 3) in another order: float32 (L, I, 3 x joints)."""
    chosen = poses[:, :, order].astype(np.float32)
    return chosen.reshape(*chosen.shape[:2], -1)


def read_poses(path: Path) -> list[tuple[str, np.ndarray]]:
    """Episodes of a pose file in file order: name and array (L, 1, 26, 3).

    Raises:
        UserError: Not the benchmark's layout; it names the file and the episode.
    """
    from behaviorzoo.mabe import load_dictionary

    content = load_dictionary(path, memory_map=True)
    sequences = content.get("sequences")
    episodes = sequences.get("keypoints") if isinstance(sequences, dict) else None
    if not isinstance(episodes, dict) or not episodes:
        raise UserError(
            f"{path}: expected {{'sequences': {{'keypoints': {{name: poses}}}}}} of Shot7M2, found "
            f"the keys {sorted(map(str, content))}"
        )
    for name, poses in episodes.items():
        found = np.shape(poses)
        if len(found) != 4 or found[2:] != (len(KEYPOINTS), 3) or not found[0]:
            raise UserError(
                f"{path}: episode {name!r} has shape {found}, expected (frames, 1, 26, 3)"
            )
    return [(str(name), np.asarray(poses)) for name, poses in episodes.items()]
