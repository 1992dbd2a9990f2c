"""Own data as plain arrays: samples x frames x values, NaN where a value is missing or padding."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bams.data.config import Compat, DataConfig
from bams.data.features import Source
from bams.data.keypoints import feature_names, keypoint_features
from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file

KEY = "keypoints"
NAMES = "names"
ANIMAL = "animal"


def arrays(config: DataConfig, compat: Compat, state: Mapping[str, Any]) -> Source:
    """Sequences of the files in ``data.path`` (and ``data.test_path``), one after another."""
    files = data_files(config)
    parts = [(*read_array(path), train) for path, train in files]
    n_values = parts[0][0].shape[-1]
    for (path, _), (keypoints, _, _) in zip(files, parts, strict=True):
        if keypoints.shape[-1] != n_values:
            raise UserError(
                f"{path}: {keypoints.shape[-1]} values in a frame, {files[0][0]} has {n_values}; "
                "all files must have the same"
            )
    samples = [(sample, train) for keypoints, _, train in parts for sample in keypoints]
    names = [name for _, part_names, _ in parts for name in part_names]
    if len(files) > 1 and len(set(names)) < len(names):
        names = [
            f"{path.stem}_{name}"
            for (path, _), (_, part_names, _) in zip(files, parts, strict=True)
            for name in part_names
        ]
    _check_names(names, config)
    inputs, targets = feature_names([f"value {n + 1}" for n in range(n_values)])
    return Source(
        names=names,
        lengths=[len(sample) for sample, _ in samples],
        is_train=[train for _, train in samples],
        individuals=(ANIMAL,),
        input_names=inputs,
        target_names=targets,
        load=lambda index: keypoint_features(np.asarray(samples[index][0])[None]),
        target_columns=slice(n_values, 2 * n_values),
    )


def read_array(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """The sequences of one file, and their names.

    Args:
        path: ``.npy`` with an array (samples, frames, values), or ``.npz`` with the array
            ``keypoints`` (or only one array) and, if you like, ``names`` (samples,).

    Returns:
        Numbers (samples, frames, values), left on the disk where the file permits, and names.

    Raises:
        UserError: Not such a file, Python objects in it, another number of axes, or infinite
            values; it names the first sample and frame.
    """
    path = existing_file(path, "array")
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            keypoints, names = content, None
        else:
            with content:
                keypoints, names = _from_archive(path, content)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        objects = "object" in str(error).lower()
        reason = "it holds Python objects, which are not read" if objects else "damaged or no array"
        raise UserError(
            f"{path}: {reason}; save numbers (samples, frames, values) with np.save or np.savez, "
            "NaN where a value is missing"
        ) from error
    _check(path, keypoints)
    if names is None:
        digits = len(str(len(keypoints) - 1))
        names = [f"sample_{number:0{digits}d}" for number in range(len(keypoints))]
    elif len(names) != len(keypoints):
        raise UserError(f"{path}: {len(names)} names for {len(keypoints)} samples")
    return keypoints, names


def _from_archive(path: Path, content: Any) -> tuple[np.ndarray, list[str] | None]:
    others = [key for key in content.files if key != NAMES]
    key = KEY if KEY in others else others[0] if len(others) == 1 else None
    if key is None:
        raise UserError(
            f"{path}: no array {KEY!r} among {', '.join(content.files) or 'nothing'}; name it so"
        )
    names = content[NAMES] if NAMES in content.files else None
    return content[key], None if names is None else [str(name) for name in names]


def _check(path: Path, keypoints: np.ndarray) -> None:
    if keypoints.ndim != 3 or keypoints.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: an array {keypoints.shape} of {keypoints.dtype}, expected numbers (samples, "
            "frames, values): put the coordinates of all points of a frame side by side"
        )
    if not keypoints.size:
        raise UserError(f"{path}: the array {keypoints.shape} is empty")
    for sample, values in enumerate(keypoints):
        infinite = np.isinf(values).any(-1)
        if infinite.any():
            raise UserError(
                f"{path}: sample {sample} has an infinite value in frame {int(infinite.argmax())}; "
                "a missing value is NaN"
            )


def _check_names(names: list[str], config: DataConfig) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{config.path}: two samples are named {name!r}; names must differ")
        seen.add(name)


def data_files(config: DataConfig) -> list[tuple[Path, bool]]:
    """Files of the configuration, and whether they are of the training split."""
    if not config.path:
        raise UserError("data.path is empty: give a .npy or .npz file (samples, frames, values)")
    return [
        (existing_file(path, "array"), train)
        for paths, train in ((config.path, True), (config.test_path or [], False))
        for path in ([paths] if isinstance(paths, str) else paths)
    ]
