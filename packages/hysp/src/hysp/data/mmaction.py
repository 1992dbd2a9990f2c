"""Skeleton annotations of mmaction2 and pyskl: a pickle of detected poses, 17 points of COCO.

    {"split": {name: [frame_dir, ...]}, "annotations": [...]}, or the list alone; an annotation has
    frame_dir, label, total_frames, keypoint (persons, frames, 17, 2 or 3), and mostly
    keypoint_score (persons, frames, 17) and img_shape

The 17 points become the 18 of OpenPose: the neck is the middle of the shoulders. Points in two
dimensions; a third number of a point is its score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo import restricted_pickle
from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.pickled_values import DamagedPickleError, ForbiddenGlobalError
from behaviorzoo.poses.selection import Selection
from hysp.data.config import ClipConfig
from hysp.data.recordings import Clips, Source, cut_clips
from hysp.data.skeleton import named_skeleton

COCO_JOINTS = 17
_LEFT_SHOULDER, _RIGHT_SHOULDER, _NECK = 5, 6, 17
# fmt: off
_OPENPOSE_OF_COCO = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
# fmt: on
MIN_SCORE = 0.1


def default_clips() -> ClipConfig:
    """Two persons, gaps filled, every person centred on the neck; the scale is fitted."""
    return ClipConfig(missing="fill", max_individuals=2, min_confidence=MIN_SCORE)


def mmaction_clips(path: str | Path, config: ClipConfig | None = None) -> Clips:
    """Clips of a pickle of annotations, one each, with the task ``action`` if they are labelled.

    Args:
        path: The ``.pkl``; it is interpreted, never run.
        config: How to cut; see :func:`default_clips`.

    Raises:
        UserError: Damaged, refused, or another layout; names the file and the annotation.
    """
    config = config or default_clips()
    path = existing_file(path, "annotation")
    annotations, splits = _contents(path)
    skeleton = named_skeleton("openpose")
    persons = config.max_individuals or max(len(a["keypoint"]) for a in annotations)
    selection = Selection(skeleton.joints, tuple(f"person_{n + 1}" for n in range(persons)), 2)
    labels = _labels(annotations, splits)
    sources = _sources(annotations, path, persons, config.min_confidence)
    return cut_clips(sources, selection, skeleton, labels, config, source="mmaction")


def openpose_points(keypoint: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of COCO as those of OpenPose.

    Args:
        keypoint: (M, T, 17, 2).
        score: (M, T, 17).

    Returns:
        (M, T, 18, 2) and (M, T, 18); the neck is as sure as the less sure shoulder.
    """
    shoulders = [_LEFT_SHOULDER, _RIGHT_SHOULDER]
    neck = keypoint[:, :, shoulders].mean(axis=2, keepdims=True)
    sure = score[:, :, shoulders].min(axis=2, keepdims=True)
    order = list(_OPENPOSE_OF_COCO)
    points = np.concatenate([keypoint, neck], axis=2)[:, :, order]
    return points, np.concatenate([score, sure], axis=2)[:, :, order]


def _sources(
    annotations: Sequence[Mapping[str, Any]], path: Path, persons: int, least: float
) -> Iterator[Source]:
    for annotation in annotations:
        points, score = openpose_points(*_points(annotation))
        points = np.where((score > least)[..., None], points, np.nan).astype(np.float32)
        # The persons that are seen most come first, as many as there is room for.
        order = np.argsort(-(score > least).sum(axis=(1, 2)), kind="stable")[:persons]
        positions = np.full((points.shape[1], persons, *points.shape[2:]), np.nan, np.float32)
        positions[:, : len(order)] = points[order].transpose(1, 0, 2, 3)
        name = str(annotation["frame_dir"])
        yield Source(name, f"{path}: {name}", 0, positions)


def _points(annotation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    keypoint = np.asarray(annotation["keypoint"], dtype=np.float32)
    if "keypoint_score" in annotation:
        return keypoint[..., :2], np.asarray(annotation["keypoint_score"], dtype=np.float32)
    if keypoint.shape[-1] == 3:
        return keypoint[..., :2], keypoint[..., 2]
    return keypoint, np.where((keypoint != 0).any(axis=-1), np.float32(1), np.float32(0))


def _labels(
    annotations: Sequence[Mapping[str, Any]], splits: Mapping[str, Sequence[str]]
) -> pd.DataFrame | None:
    labelled = [a for a in annotations if isinstance(a.get("label"), int | np.integer)]
    if not labelled:
        return None
    n = len(labelled)
    names = [str(a["frame_dir"]) for a in labelled]
    table = pd.DataFrame(
        {
            "recording": names,
            "task": "action",
            "start": pd.array([pd.NA] * n, dtype="Int64"),
            "stop": pd.array([pd.NA] * n, dtype="Int64"),
            "label": [f"{int(a['label']):03d}" for a in labelled],
        }
    )
    for benchmark in dict.fromkeys(name.rpartition("_")[0] for name in splits):
        sides = {
            str(clip): "train" if side == "train" else "val"
            for side in ("val", "test", "train")
            for clip in splits.get(f"{benchmark}_{side}".lstrip("_"), ())
        }
        table[benchmark or "split"] = [sides.get(name, "") for name in names]
    return table


def _contents(path: Path) -> tuple[list[Mapping[str, Any]], Mapping[str, Sequence[str]]]:
    try:
        with path.open("rb") as handle:
            value = restricted_pickle.load(handle)
    except ForbiddenGlobalError as error:
        raise UserError(
            f"{path}: refused, it wants {error} but only lists and arrays are read; nothing was run"
        ) from error
    except DamagedPickleError as error:
        raise UserError(f"{path}: truncated or damaged ({error}); download it again") from error
    splits = value.get("split", {}) if isinstance(value, dict) else {}
    annotations = value.get("annotations") if isinstance(value, dict) else value
    if not isinstance(annotations, list) or not annotations:
        raise UserError(f"{path}: no list of annotations in it, as mmaction2 and pyskl write them")
    for number, annotation in enumerate(annotations):
        _check(annotation, f"{path}: annotation {number}")
    return annotations, splits if isinstance(splits, dict) else {}


def _check(annotation: Any, where: str) -> None:
    if not isinstance(annotation, dict) or not {"frame_dir", "keypoint"} <= set(annotation):
        raise UserError(f"{where}: no frame_dir or no keypoint in it")
    name, shape = annotation["frame_dir"], np.shape(annotation["keypoint"])
    if len(shape) != 4 or shape[2] != COCO_JOINTS or shape[3] not in (2, 3):
        raise UserError(
            f"{where} ({name}): keypoint has shape {shape}, expected (persons, frames, "
            f"{COCO_JOINTS}, 2 or 3): 17 points of COCO"
        )
    score = annotation.get("keypoint_score")
    if score is not None and np.shape(score) != shape[:3]:
        raise UserError(
            f"{where} ({name}): keypoint_score has shape {np.shape(score)}, expected {shape[:3]}"
        )
