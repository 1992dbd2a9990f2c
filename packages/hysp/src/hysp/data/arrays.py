"""The arrays of the original and its ancestors: ``{part}_position.npy`` and ``{part}_label.pkl``.

    {part}_data.npy       float32 (N, 3, 300, 25, 2): raw frames, zeros behind the end
    {part}_position.npy   float32 (N, 3, 50, 25, 2): what is trained on
    {part}_motion.npy     float32 (N, 3, 50, 25, 2): read by nobody
    {part}_label.pkl      (names, labels), labels counted from 0
    {part}_label.npy      int64 (N, 1), shifted so that the smallest is 0

``part`` is ``train`` or ``val``. The training recipes read the labels of the ``.pkl``.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo import restricted_pickle
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.pickled_values import DamagedPickleError, ForbiddenGlobalError

_ARRAY_KINDS = ("_position.npy", "_data.npy", "_motion.npy")


def open_array(path: str | Path) -> np.ndarray:
    """Map an array of samples (N, C, T, V, M) from its ``.npy`` file; nothing is read yet.

    Raises:
        UserError: No such file, truncated, or another number of axes; names the file.
    """
    path = existing_file(path, "array")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        detail = " ".join(str(error).split())[:150]
        raise UserError(f"{path}: truncated, or not an npy array of numbers ({detail})") from error
    if array.ndim != 5 or array.shape[1] not in (2, 3) or array.dtype.kind != "f":
        raise UserError(
            f"{path}: array {array.shape} of {array.dtype}, expected floats (samples, 2 or 3 "
            "coordinates, frames, joints, persons)"
        )
    return array


def read_label_file(path: str | Path) -> tuple[list[str] | None, np.ndarray]:
    """Names (if the file has them) and labels int64 (N,) of a ``.pkl`` or ``.npy`` file.

    A ``.pkl`` holds ``(names, labels)``, or labels alone (the subsets by uncertainty). It is
    interpreted, never run: see :mod:`behaviorzoo.restricted_pickle`.

    Raises:
        UserError: No such file, damaged, refused, or not labels; names the file.
    """
    path = existing_file(path, "label file")
    value = _pickled(path) if path.suffix in (".pkl", ".pickle") else _npy(path)
    names = None
    if isinstance(value, list | tuple) and len(value) == 2 and _is_sequence(value[0]):
        names, value = [str(name) for name in value[0]], value[1]
    labels = np.asarray(value)
    if labels.shape == (0,):  # an empty list has no type
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.size != (len(labels) if labels.ndim else -1):
        raise UserError(f"{path}: expected (names, labels) or whole-number labels, one per sample")
    labels = labels.reshape(-1).astype(np.int64)
    if names is not None and len(names) != len(labels):
        raise UserError(f"{path}: {len(names)} names, but {len(labels)} labels")
    return names, labels


def write_label_file(path: str | Path, names: Sequence[str], labels: Sequence[int]) -> None:
    """Write ``(names, labels)`` as the original's scripts do."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        pickle.dump((list(map(str, names)), [int(label) for label in labels]), handle, protocol=2)


def label_file_of(path: str | Path) -> Path:
    """The label file that belongs to an array by its name, ``.pkl`` before ``.npy``.

    Raises:
        UserError: The array's name says nothing, or there is no such file.
    """
    path = Path(path)
    for kind in _ARRAY_KINDS:
        if path.name.endswith(kind):
            stem = path.name.removesuffix(kind)
            candidates = [path.with_name(f"{stem}_label{suffix}") for suffix in (".pkl", ".npy")]
            for candidate in candidates:
                if candidate.is_file():
                    return candidate
            raise UserError(
                f"{path}: no labels beside it (looked for {candidates[0].name} and "
                f"{candidates[1].name}); give data.labels"
            )
    raise UserError(f"{path}: which file has its labels? give data.labels")


def part_array(folder: str | Path, part: str, benchmark: str = "") -> Path | None:
    """The array of a part in a folder of the original's layout, if it is there.

    Looked for as ``{part}_position.npy``, then ``{part}_data.npy`` (a ready-made set of PKU-MMD II
    has that name), in ``folder/benchmark`` and ``folder``.
    """
    folder = Path(folder)
    inner = [folder / benchmark] if benchmark else []
    for place in (*inner, folder):
        for kind in ("_position.npy", "_data.npy"):
            if (place / f"{part}{kind}").is_file():
                return place / f"{part}{kind}"
    return None


def _pickled(path: Path) -> Any:
    try:
        with path.open("rb") as handle:
            return restricted_pickle.load(handle)
    except ForbiddenGlobalError as error:
        raise UserError(
            f"{path}: refused, it wants {error} but only lists and arrays are read; nothing was run"
        ) from error
    except DamagedPickleError as error:
        raise UserError(f"{path}: truncated or damaged ({error}); write it again") from error


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        detail = " ".join(str(error).split())[:150]
        raise UserError(f"{path}: not a label file ({detail})") from error


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)
