"""MABe 2022: mouse triplets and fly groups, every animal a sequence of its own.

Letters: A animals, L frames, P key points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bams.data import mouse
from bams.data.config import Compat, DataConfig
from bams.data.features import Features, Source
from bams.data.keypoints import feature_names, keypoint_features
from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.mabe import pose_sequences

FILES: Mapping[str, str] = {"mice": "mouse_triplet_{split}.npy", "flies": "fly_group_{split}.npy"}
SPLITS = ("train", "test")
FPS = {"mouse": 30.0, "fly": 150.0}


@dataclass(frozen=True)
class Clip:
    """One recording of the benchmark.

    Attributes:
        name: Its key in the file.
        keypoints: (L, A, P, 2) as the file has it.
        is_train: From the training file.
    """

    name: str
    keypoints: np.ndarray
    is_train: bool


def mice(config: DataConfig, compat: Compat, state: Mapping[str, Any]) -> Source:
    """Mouse triplets: 12 points each, 0 where one is missing."""
    clips = read_clips(config)
    shape = (len(mouse.KEYPOINTS), 2)
    for clip in clips:
        if clip.keypoints.shape[2:] != shape:
            raise UserError(
                f"{config.path}: clip {clip.name!r} has key points of shape "
                f"{clip.keypoints.shape}, expected (frames, mice, 12, 2); see data.dataset"
            )
    return _source(
        clips,
        "mouse",
        partial(mouse.mouse_features, compat=compat),
        mouse.input_names(),
        mouse.TARGETS,
    )


def flies(config: DataConfig, compat: Compat, state: Mapping[str, Any]) -> Source:
    """Fly groups: any number of flies and points, NaN where one is missing."""
    clips = read_clips(config)
    inputs, targets = feature_names(
        [
            f"{axis} of point {point + 1}"
            for point in range(clips[0].keypoints.shape[2])
            for axis in "xy"
        ]
    )

    def features(rows: np.ndarray) -> Features:
        return keypoint_features(rows.reshape(*rows.shape[:2], -1))

    return _source(clips, "fly", features, inputs, targets)


def read_clips(config: DataConfig) -> list[Clip]:
    """Clips of the training file, then of the test file, in the order of the files.

    ``data.path`` is a folder with the benchmark's file names, or files; a file is of the test
    split if ``data.test_path`` names it or its name says ``test``.

    Raises:
        UserError: No such file, or clips of different animals or points; it names the clip.
    """
    clips: list[Clip] = []
    for path, is_train in data_files(config):
        clips += [Clip(name, keypoints, is_train) for name, keypoints in _poses(path)]
    if not clips:
        raise UserError(f"{config.path}: no clip in the {config.dataset} files")
    for clip in clips:
        if clip.keypoints.shape[1:] != clips[0].keypoints.shape[1:]:
            raise UserError(
                f"{config.path}: clip {clip.name!r} has key points of shape "
                f"{clip.keypoints.shape}, {clips[0].name!r} of shape {clips[0].keypoints.shape}; "
                "animals and points must be the same in all clips"
            )
    return clips


def single_animals(keypoints: np.ndarray) -> np.ndarray:
    """(L, A, P, 2) -> one row per animal, (A, L, P, 2)."""
    return keypoints.swapaxes(0, 1)


def _poses(path: Path) -> list[tuple[str, np.ndarray]]:
    poses = list(pose_sequences(path, memory_map=True))
    for name, keypoints in poses:
        if keypoints.ndim != 4 or keypoints.shape[-1] != 2 or not keypoints.size:
            raise UserError(
                f"{path}: clip {name!r} has key points of shape {keypoints.shape}, expected "
                "(frames, animals, points, 2)"
            )
    return poses


def _source(
    clips: list[Clip],
    animal: str,
    features: Callable[[np.ndarray], Features],
    input_names: tuple[str, ...],
    target_names: tuple[str, ...],
) -> Source:
    return Source(
        names=[clip.name for clip in clips],
        lengths=[len(clip.keypoints) for clip in clips],
        is_train=[clip.is_train for clip in clips],
        individuals=tuple(f"{animal}_{n + 1}" for n in range(clips[0].keypoints.shape[1])),
        input_names=input_names,
        target_names=target_names,
        load=lambda index: features(single_animals(clips[index].keypoints)),
        state={"fps": FPS[animal]},
    )


def data_files(config: DataConfig) -> list[tuple[Path, bool]]:
    """Files of the configuration, and whether they are of the training split."""
    if not config.path:
        raise UserError(f"data.path is empty: give the folder or the files of {config.dataset}")
    paths = [config.path] if isinstance(config.path, str) else config.path
    found: list[tuple[Path, bool]] = []
    for path in map(Path, paths):
        if path.expanduser().is_dir():
            found += _in_folder(path.expanduser(), FILES[config.dataset])
        else:
            found.append((path, "test" not in path.name))
    test = [config.test_path] if isinstance(config.test_path, str) else config.test_path or []
    found += [(Path(path), False) for path in test]
    return [(existing_file(path, f"{config.dataset} file"), train) for path, train in found]


def _in_folder(folder: Path, pattern: str) -> list[tuple[Path, bool]]:
    names = [(folder / pattern.format(split=split), split == "train") for split in SPLITS]
    there = [(path, train) for path, train in names if path.is_file()]
    if not there:
        raise UserError(
            f"{folder}: this folder has no {' or '.join(path.name for path, _ in names)}; check "
            "data.path and data.dataset"
        )
    return there
