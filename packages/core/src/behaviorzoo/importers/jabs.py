"""JAX JABS pose files (versions 2 to 6), which ``movement`` does not know.

Points are stored as (row, column) = (y, x) and a confidence of 0 marks a point that was not
found. Identities: version 2 one animal; version 3 short tracks; version 4 and later also an
identity over the whole video, which is used when present.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import h5py
import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.importers.tracks import Tracks

SOFTWARE = "JABS"
KEYPOINTS = (
    "nose",
    "left_ear",
    "right_ear",
    "base_neck",
    "left_front_paw",
    "right_front_paw",
    "center_spine",
    "left_rear_paw",
    "right_rear_paw",
    "base_tail",
    "mid_tail",
    "tip_tail",
)


def read_jabs(path: Path, where: str) -> Tracks:
    """Read a JABS pose file.

    Args:
        path: File with the group ``poseest``.
        where: Name for the messages.

    Returns:
        The tracks; x before y, NaN where the confidence is 0.

    Raises:
        UserError: Damaged, or shapes that are not those of the format.
    """
    try:
        with h5py.File(path) as file:
            group = cast("h5py.Group", file["poseest"])
            data = {
                name: np.asarray(cast("h5py.Dataset", group[name])[()]) for name in _wanted(group)
            }
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{where}: the JABS file is damaged or truncated ({error})") from error
    points, confidence = data.get("points"), data.get("confidence")
    if points is None or confidence is None or points.shape != (*confidence.shape, 2):
        shapes = {name: values.shape for name, values in data.items()}
        raise UserError(f"{where}: points and confidence do not fit each other: {shapes}")
    if points.shape[-2] != len(KEYPOINTS):
        raise UserError(
            f"{where}: {points.shape[-2]} key points, a JABS mouse has {len(KEYPOINTS)}"
        )
    if points.ndim == 3:  # version 2: (frames, key points, 2), one animal
        points, confidence = points[:, None], confidence[:, None]
        identity = np.zeros(points.shape[:2], dtype=np.int64)
        names = ["individual_0"]
    else:
        identity, names = _identities(data, where)
    # Both sets of rows are in the order of np.nonzero: one entry per instance in a frame.
    frame, instance = np.nonzero(identity >= 0)
    slot = identity[frame, instance]
    n_frames, n_keypoints = len(points), len(KEYPOINTS)
    position = np.full((n_frames, 2, n_keypoints, len(names)), np.nan, dtype=np.float32)
    score = np.full((n_frames, n_keypoints, len(names)), np.nan, dtype=np.float32)
    # points[frame, instance] is (instances, K, (y, x)) -> (instances, (x, y), K)
    position[frame, :, :, slot] = points[frame, instance, :, ::-1].transpose(0, 2, 1)
    score[frame, :, slot] = confidence[frame, instance]
    unseen = ~(score > 0)
    position = np.where(unseen[:, None], np.nan, position)
    placed = unseen[frame, :, slot]
    notes = []
    if placed.any():
        notes.append(f"{100 * placed.mean():.2g} % of the points have the confidence 0: missing")
    return Tracks(
        position=position,
        confidence=score,
        keypoints=list(KEYPOINTS),
        individuals=names,
        frames=np.arange(n_frames, dtype=np.int64),
        source=SOFTWARE,
        numbered=False,
        notes=notes,
    )


def _wanted(group: h5py.Group) -> list[str]:
    names = ("points", "confidence", "instance_count", "instance_track_id")
    return [name for name in (*names, "instance_embed_id", "id_mask") if name in group]


def _identities(data: dict[str, np.ndarray], where: str) -> tuple[np.ndarray, list[str]]:
    """Column of each instance (frames, instances), -1 for none, and the names of the columns."""
    shape = data["confidence"].shape[:2]
    if "instance_embed_id" in data:  # 0 = no identity; the mask is true where it is not valid
        kind, ids = "individual", data["instance_embed_id"].astype(np.int64)
        valid = ids > 0
        if "id_mask" in data:
            valid &= data["id_mask"].astype(int) == 0
    elif "instance_track_id" in data and "instance_count" in data:
        kind, ids = "track", data["instance_track_id"].astype(np.int64)
        valid = np.arange(shape[1])[None] < data["instance_count"].reshape(-1, 1)
    else:
        raise UserError(f"{where}: several animals but neither tracks nor identities in the file")
    if ids.shape != shape or valid.shape != shape:
        raise UserError(f"{where}: identities have the shape {ids.shape}, expected {shape}")
    if not valid.any():
        raise UserError(f"{where}: no animal in any frame")
    known, column = np.unique(ids[valid], return_inverse=True)
    identity = np.full(shape, -1, dtype=np.int64)
    identity[valid] = column
    _refuse_twice(identity, len(known), where)
    return identity, [f"{kind}_{number}" for number in known]


def _refuse_twice(identity: np.ndarray, n_names: int, where: str) -> None:
    frame, instance = np.nonzero(identity >= 0)
    cell = frame * n_names + identity[frame, instance]
    unique, counts = np.unique(cell, return_counts=True)
    if (counts > 1).any():
        at = int(unique[counts.argmax()] // n_names)
        raise UserError(f"{where}: one identity occurs twice in frame {at}")
