"""hBABEL step 1: 25 joints of the AMASS motions, normalised as NTU skeletons and aligned rigidly.

Legend: T frames, J joints (25), n samples of a split.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from hbehavemae.data.joblib_files import load_joblib, save_joblib

log = logging.getLogger("hbehavemae")

# fmt: off
JOINTS = (
    0, 3, 12, 15, 16, 18, 20, 22, 17, 19, 21, 37, 1, 4, 7, 10, 2, 5, 8, 11, 9, 63, 64, 68, 69,
)
# fmt: on
"""The 25 joints of NTU RGB+D among those of SMPL-H."""

SPLITS = ("train", "val", "test")
RAW_FILE = "{split}.pth.tar"
ALIGNED_FILE = "{split}_proc_realigned_procrustes.pth.tar"
ARRAY_FILE = "hbabel_{split}_poses.npz"
FOLDERS = ("", "babel-smplh-30fps-male")
_TINY = 1e-6


class Motion(NamedTuple):
    """One sample of a split.

    Attributes:
        name: babel_id.
        frames: Frames by the annotation's clock (length of ``poses``).
        joints: float32 (T, 25, 3).
    """

    name: str
    frames: int
    joints: np.ndarray


def hbabel_poses(
    folder: str | Path,
    out: str | Path | None = None,
    splits: Iterable[str] = SPLITS,
    layout: Literal["arrays", "original", "both"] = "both",
) -> list[Path]:
    """Normalise and align the joints of each split.

    Args:
        folder: The folder with ``train.pth.tar``, ``val.pth.tar``, ``test.pth.tar`` (or the one
            above ``babel-smplh-30fps-male``).
        out: Where to write; None = beside the input.
        splits: Splits to do; one whose file is absent is left out with a warning.
        layout: ``arrays`` = ``hbabel_{split}_poses.npz``, plain arrays that any program reads;
            ``original`` = ``{split}_proc_realigned_procrustes.pth.tar``, the authors' joblib
            list with all other fields kept; or both.

    Returns:
        The files written.

    Raises:
        UserError: No split found, or a file without the expected fields.
    """
    written: list[Path] = []
    for split in splits:
        source = find_file(folder, RAW_FILE.format(split=split))
        if source is None:
            log.warning("%s: no %s here, left out", folder, RAW_FILE.format(split=split))
            continue
        samples = read_samples(source)
        normalised = [normalise(sample["joint_positions"]) for sample in samples]
        aligned = align(normalised)
        target = Path(out) if out is not None else source.parent
        if layout in ("arrays", "both"):
            written.append(_write_arrays(target, split, samples, normalised, aligned))
        if layout in ("original", "both"):
            written.append(_write_original(target, split, samples, aligned))
    if not written:
        raise UserError(
            f"{folder}: found none of {', '.join(RAW_FILE.format(split=s) for s in splits)}; "
            "give the folder babel-smplh-30fps-male"
        )
    return written


def find_file(folder: str | Path, name: str) -> Path | None:
    """The file in the folder, or in its ``babel-smplh-30fps-male``."""
    candidates = [Path(folder).expanduser() / inner / name for inner in FOLDERS]
    return next((path for path in candidates if path.is_file()), None)


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Samples of a joblib file.

    Raises:
        UserError: Not a list of samples with identity and joints; it names the file and sample.
    """
    samples = load_joblib(path)
    if not isinstance(samples, list) or not samples:
        raise UserError(f"{path}: expected a list of samples, found {type(samples).__name__}")
    for number, sample in enumerate(samples):
        if not isinstance(sample, dict) or "babel_id" not in sample or "poses" not in sample:
            raise UserError(f"{path}: sample {number} has no babel_id or no poses")
        found = np.shape(sample.get("joint_positions", ()))
        if len(found) != 3 or found[1] <= max(JOINTS) or found[2] != 3 or not found[0]:
            raise UserError(
                f"{path}: sample {sample['babel_id']} has joint_positions of shape {found}, "
                f"expected (frames, more than {max(JOINTS)}, 3)"
            )
    return samples


def read_motions(folder: str | Path, split: str, aligned: bool) -> list[Motion]:
    """Motions of a split in file order, from whichever file of the split there is.

    Args:
        folder: As in :func:`hbabel_poses`.
        split: Which split.
        aligned: Aligned joints; False = only the NTU-style step.

    Raises:
        UserError: No file of the split; it says what to run.
    """
    arrays = find_file(folder, ARRAY_FILE.format(split=split))
    if arrays is not None:
        return read_arrays(arrays, "aligned" if aligned else "normalised")
    original = find_file(folder, ALIGNED_FILE.format(split=split))
    raw = None if aligned else find_file(folder, RAW_FILE.format(split=split))
    source = original or raw
    if source is None:
        raise UserError(
            f"{folder}: no {ARRAY_FILE.format(split=split)} and no "
            f"{ALIGNED_FILE.format(split=split)}; run "
            "`hbehavemae prepare hbabel-poses` on the AMASS motions"
        )
    return [
        Motion(str(sample["babel_id"]), len(sample["poses"]), _joints(sample, aligned, source))
        for sample in load_joblib(source)
    ]


def has_motions(folder: str | Path, split: str, aligned: bool) -> bool:
    """Whether :func:`read_motions` would find a file of the split."""
    names = [ARRAY_FILE, ALIGNED_FILE, *([] if aligned else [RAW_FILE])]
    return any(find_file(folder, name.format(split=split)) is not None for name in names)


def normalise(positions: np.ndarray) -> np.ndarray:
    """Centre every frame on the body and turn the body upright and forward, as for NTU skeletons.

    Every frame is centred on its own joint 1, so the translation is gone. One rotation makes the
    spine of frame 0 point along +z, a second one makes its shoulders point along +x.

    Args:
        positions: (T, more than 69, 3), all joints of the motion.

    Returns:
        float32 (T, 25, 3).
    """
    joints = np.asarray(positions)[:, list(JOINTS)]
    # The original takes a joint whose coordinates add up to exactly 0 for missing.
    seen = joints.sum(-1, keepdims=True) != 0
    x = joints.astype(np.float64)
    x = (x - x[:, 1:2]) * seen
    spine = x[0, [1, 2, 3]].mean(0) - x[0, [0, 12, 16]].mean(0)
    x = _turn(x, rotation_onto(spine, np.array([0.0, 0.0, 1.0])))
    shoulders = x[0, [8, 16]].mean(0) - x[0, [4, 12]].mean(0)
    x = _turn(x, rotation_onto(shoulders, np.array([1.0, 0.0, 0.0])))
    return x.astype(np.float32)


def align(motions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Align each motion by the rotation that brings its first pose onto the split's mean pose.

    Orthogonal Procrustes without the correction of the determinant (reflections can occur, as in
    the original) and without scaling. Every frame is centred on its own centroid, so global
    translation is removed.

    Args:
        motions: float32 (T, 25, 3) each.

    Returns:
        float32 (T, 25, 3) each.
    """
    reference = np.mean([motion[0] for motion in motions], axis=0, dtype=np.float64)
    middle = reference.mean(0)
    return [
        (_procrustes(motion.astype(np.float64), reference - middle) + middle).astype(np.float32)
        for motion in motions
    ]


def rotation_onto(vector: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) that turns ``vector`` into the direction of ``target``.

    Rodrigues' formula; the identity where the vector is zero or already (anti)parallel.
    """
    length = np.linalg.norm(vector)
    axis = np.cross(vector, target)
    if length == 0 or np.abs(axis).sum() < _TINY:
        return np.eye(3)
    angle = np.arccos(np.clip(vector / length @ target, -1.0, 1.0))
    if abs(angle) < _TINY:
        return np.eye(3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _turn(x: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Rotate the frames of (T, J, 3) that are not empty (their values add up to exactly 0)."""
    empty = x.sum((1, 2), keepdims=True) == 0
    return np.where(empty, x, x @ rotation.T)


def _procrustes(motion: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Motion (T, J, 3), centred in every frame and rotated by its first frame's best fit."""
    centred = motion - motion.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(centred[0].T @ reference)
    return centred @ (u @ vt)


def _joints(sample: dict[str, Any], aligned: bool, source: Path) -> np.ndarray:
    key = "joint_positions_processed" if aligned else "joint_positions"
    if key not in sample:
        raise UserError(f"{source}: sample {sample.get('babel_id')} has no {key}")
    positions = np.asarray(sample[key])
    return positions.astype(np.float32) if aligned else normalise(positions)


def _write_arrays(
    folder: Path,
    split: str,
    samples: Sequence[dict[str, Any]],
    normalised: Sequence[np.ndarray],
    aligned: Sequence[np.ndarray],
) -> Path:
    path = folder / ARRAY_FILE.format(split=split)
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            names=np.array([str(sample["babel_id"]) for sample in samples]),
            frames=np.array([len(sample["poses"]) for sample in samples]),
            stored=np.array([len(motion) for motion in aligned]),
            aligned=np.concatenate(aligned),
            normalised=np.concatenate(normalised),
        )
    return path


def read_arrays(path: Path, which: Literal["aligned", "normalised"] = "aligned") -> list[Motion]:
    """Motions of a file of the layout ``arrays``."""
    try:
        with np.load(path) as arrays:
            names, frames, stored = (arrays[key] for key in ("names", "frames", "stored"))
            joints = np.split(arrays[which], np.cumsum(stored)[:-1])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: damaged, or not a file of `hbehavemae prepare hbabel-poses`; "
            "prepare the poses again"
        ) from error
    return [
        Motion(str(name), int(count), motion)
        for name, count, motion in zip(names, frames, joints, strict=True)
    ]


def _write_original(
    folder: Path, split: str, samples: Sequence[dict[str, Any]], aligned: Sequence[np.ndarray]
) -> Path:
    path = folder / ALIGNED_FILE.format(split=split)
    processed = [
        {**sample, "joint_positions_processed": motion}
        for sample, motion in zip(samples, aligned, strict=True)
    ]
    with atomic_path(path) as temporary:
        save_joblib(temporary, processed)
    return path
