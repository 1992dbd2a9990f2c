"""Features in a folder: ``<video>.npy`` (C, T), or ``<video>.gz`` or ``.txt``, a row per frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from behaviorzoo.errors import UserError

_SUFFIXES = {"npy": (".npy",), "text": (".gz", ".txt.gz", ".txt", ".csv")}
_KEPT_OPEN = 64


class ArrayFeatures:
    """Features of a folder with a file per video.

    Args:
        path: The folder.
        kind: ``npy`` or ``text``.
        fps: Frames per second of the rows.

    Raises:
        UserError: No such folder.
    """

    def __init__(self, path: str | Path, kind: str, fps: float = 30.0):
        self.path, self.kind, self.fps = str(path), kind, fps
        self._folder = Path(path).expanduser()
        if not self._folder.is_dir():
            raise UserError(f"{path}: no such folder of features; give reader_fn.path")

    def records(self, video: str, frames: Sequence[int]) -> list[np.ndarray | None]:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        file = self._file(video)
        if file is None:
            return [None] * len(frames)
        rows = _rows(file, self.kind)
        return [
            np.asarray(rows[frame - 1], dtype=np.float32) if 1 <= frame <= len(rows) else None
            for frame in frames
        ]

    def has(self, video: str) -> bool:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        return self._file(video) is not None

    def _file(self, video: str) -> Path | None:
        candidates = (self._folder / f"{video}{suffix}" for suffix in _SUFFIXES[self.kind])
        return next((file for file in candidates if file.is_file()), None)


@lru_cache(_KEPT_OPEN)
def _rows(file: Path, kind: str) -> np.ndarray:
    """Features (T, C): arrays are mapped, texts are parsed once and kept for some videos."""
    try:
        if kind == "npy":
            rows = np.load(file, mmap_mode="r", allow_pickle=False).T
        else:
            rows = np.loadtxt(file, dtype=np.float32, ndmin=2)
    except (ValueError, OSError, EOFError) as error:
        detail = " ".join(str(error).split())[:150]
        raise UserError(f"{file}: damaged, or not features ({detail})") from error
    if rows.ndim != 2:
        raise UserError(f"{file}: {rows.ndim} axes, expected channels and frames")
    return rows
