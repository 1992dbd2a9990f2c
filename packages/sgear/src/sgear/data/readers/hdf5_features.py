"""Features in HDF5: one data set per video, a row per frame.

    <video>     float16 or float32 (n, C); row i belongs to frame i + 1, a row of NaN is missing
    attribute "fps" of the file: frames per second of the rows

Videos may lie in groups (``P01/P01_101``); they are found by their own name as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file


class Hdf5Features:
    """Features of an HDF5 file.

    Args:
        path: The file.
        fps: Frames per second where the file does not say.

    Raises:
        UserError: No such file, or not HDF5.
    """

    def __init__(self, path: str | Path, fps: float = 30.0):
        self.path = str(path)
        self._file = _open(self.path)
        self.fps = float(self._file.attrs.get("fps", fps))
        self._names = _names(self._file)

    def records(self, video: str, frames: Sequence[int]) -> list[np.ndarray | None]:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        name = self._names.get(video)
        if name is None:
            return [None] * len(frames)
        data = self._file[name]
        read = {frame: data[frame - 1] for frame in set(frames) if 1 <= frame <= len(data)}
        rows = [read.get(frame) for frame in frames]
        return [
            None if row is None or np.isnan(row).any() else row.astype(np.float32) for row in rows
        ]

    def has(self, video: str) -> bool:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        return video in self._names and len(self._file[self._names[video]]) > 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._file = _open(self.path)


def write_hdf5(
    path: str | Path, features: Mapping[str, np.ndarray], fps: float = 30.0, dtype: str = "float32"
) -> None:
    """Write features (frames, C) of each video.

    Args:
        path: The new file.
        features: Video -> float (n, C); row i is frame i + 1; a row of NaN is missing.
        fps: Frames per second of the rows.
        dtype: float32, or float16 for half the size.
    """
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["fps"] = fps
        for video, array in features.items():
            rows = np.asarray(array, dtype=dtype)
            # A chunk per row: clips take single rows, far apart.
            file.create_dataset(video, data=rows, chunks=(1, rows.shape[1]) if rows.size else None)


def _open(path: str) -> Any:
    import h5py

    file = existing_file(path, "HDF5 feature")
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise UserError(f"{path}: not an HDF5 file, or damaged ({error})") from error


def _names(file: Any) -> dict[str, str]:
    """Video -> name of its data set, with its groups; without them where that is one only."""
    import h5py

    found: list[str] = []

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2:
            found.append(name)

    file.visititems(add)
    short = Counter(name.rsplit("/", 1)[-1] for name in found)
    names = {name.rsplit("/", 1)[-1]: name for name in found}
    return {key: name for key, name in names.items() if short[key] == 1} | dict(
        zip(found, found, strict=True)
    )
