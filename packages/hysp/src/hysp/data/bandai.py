"""Motion clips as the Bandai-Namco motion data set is kept in one ``.npz``: real people, labelled.

positions_q  int16 (frames of all clips, joints, 3), times scale_cm = centimetres, y up
offsets      int64 (clips + 1) where each clip begins
content, style, clip_id (, dataset)   per clip
joint_names, parents (-1 = root), fps
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.poses.selection import Selection
from hysp.data.config import ClipConfig
from hysp.data.recordings import Clips, Source, cut_clips
from hysp.data.skeleton import Skeleton, middle_joint, mirror_order

KEYS = ("positions_q", "scale_cm", "offsets", "content", "style", "joint_names", "parents")
METRES = 0.01
SHOULDERS = ["Shoulder_L", "Shoulder_R"]
TASKS = {"action": "content", "style": "style"}


def default_clips() -> ClipConfig:
    """How these clips are cut where nothing else is said: in metres, shoulders facing as NTU's."""
    return ClipConfig(centre="Chest", heading=list(SHOULDERS), align="clip", scale=METRES)


def bandai_clips(path: str | Path, config: ClipConfig | None = None) -> Clips:
    """All clips of a file, with the tasks ``action`` and ``style``; every clip is its own group.

    Args:
        path: The ``.npz``.
        config: How to cut; see :func:`default_clips`.

    Raises:
        UserError: Damaged, another layout, or lengths that do not fit; names the file and key.
    """
    config = config or default_clips()
    path = existing_file(path, "motion")
    arrays = _arrays(path)
    names = tuple(map(str, arrays["joint_names"]))
    joints = tuple(config.keypoints) or names
    absent = [name for name in joints if name not in names]
    if absent:
        raise UserError(f"{path}: no joint {absent[0]!r}; it has {', '.join(names)}")
    columns = [names.index(name) for name in joints]
    edges = tuple(
        (min(a, b), max(a, b))
        for a, b in (
            (child, columns.index(parent))
            for child, parent in enumerate(arrays["parents"][columns])
            if parent in columns
        )
    )
    centre = joints.index(config.centre) if config.centre in joints else None
    if config.centre and centre is None:
        raise UserError(f"{path}: data.clips.centre={config.centre} is not among its joints")
    skeleton = Skeleton(
        joints,
        edges,
        middle_joint(len(joints), edges) if centre is None else centre,
        mirror_order(joints, config.mirror_pairs),
    )
    clip_names = _clip_names(arrays)
    sources = (
        Source(name, str(path), 0, _positions(arrays, clip, columns))
        for clip, name in enumerate(clip_names)
    )
    selection = Selection(joints, ("person",), 3)
    return cut_clips(
        sources, selection, skeleton, _labels(arrays, clip_names), config, source="bandai"
    )


def _positions(arrays: dict[str, np.ndarray], clip: int, columns: list[int]) -> np.ndarray:
    """float32 (frames, 1, V, 3) in centimetres."""
    start, stop = arrays["offsets"][clip : clip + 2]
    frames = arrays["positions_q"][start:stop][:, columns]
    return (frames * np.float32(arrays["scale_cm"]))[:, None].astype(np.float32)


def _clip_names(arrays: dict[str, np.ndarray]) -> list[str]:
    """``action_style_number`` of each clip, made unique by its place if need be."""
    ids = arrays.get("clip_id", np.arange(len(arrays["content"])))
    parts = zip(arrays["content"], arrays["style"], ids, strict=True)
    names = [f"{content}_{style}_{int(number):03d}" for content, style, number in parts]
    return [f"{n}#{at}" if names.count(n) > 1 else n for at, n in enumerate(names)]


def _labels(arrays: dict[str, np.ndarray], names: list[str]) -> pd.DataFrame:
    tables = [
        pd.DataFrame(
            {
                "recording": names,
                "task": task,
                "start": pd.array([pd.NA] * len(names), dtype="Int64"),
                "stop": pd.array([pd.NA] * len(names), dtype="Int64"),
                "label": arrays[key].astype(str),
            }
        )
        for task, key in TASKS.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: truncated, or not an npz of arrays ({detail})") from error
    absent = [key for key in KEYS if key not in arrays]
    if absent:
        raise UserError(f"{path}: no array {absent[0]!r}; it has {', '.join(arrays) or 'none'}")
    positions, offsets, joints = (arrays[k] for k in ("positions_q", "offsets", "joint_names"))
    clips = len(arrays["content"])
    if positions.ndim != 3 or positions.shape[1:] != (len(joints), 3):
        raise UserError(
            f"{path}: positions_q has shape {positions.shape}, expected (frames, {len(joints)}, 3)"
        )
    lengths = np.diff(offsets)
    if len(lengths) != clips or (lengths < 1).any() or offsets[-1] != len(positions):
        raise UserError(f"{path}: offsets do not cut {len(positions)} frames into {clips} clips")
    for key in ("style", "parents"):
        wanted = clips if key == "style" else len(joints)
        if len(arrays[key]) != wanted:
            raise UserError(f"{path}: {key} has {len(arrays[key])} entries, expected {wanted}")
    return arrays
