"""Features in an embedding file of Behavior Zoo (.nc): what one network saw, as input of another.

``sgear embed RUN --every 0.5 --out seen.nc`` writes such a file, a row every half second. Row i of
a recording belongs to feature frame ``first_frame + i + 1``; the rate is ``1 / every`` where the
file says it, else ``reader_fn.fps``. A level is named behind the path: ``seen.nc:past``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.embeddings import Embeddings, open_embeddings

SUFFIX = ".nc"


class EmbeddingFeatures:
    """Rows of one level of an embedding file.

    Args:
        path: The file, with ``:LEVEL`` behind it where it is not the first level.
        fps: Frames per second where the file does not say.

    Raises:
        UserError: No such file or level.
    """

    def __init__(self, path: str | Path, fps: float = 30.0):
        self.path = str(path)
        self._open()
        every = self._file.attrs.get("every")
        self.fps = 1 / float(every) if every else fps

    def _open(self) -> None:
        file, _, level = self.path.rpartition(":")
        if not file.endswith(SUFFIX):
            file, level = self.path, ""
        self._file: Embeddings = open_embeddings(Path(file).expanduser())
        self._level = level or self._file.levels[0]
        try:
            self._file.features(self._level)
        except BaseException:
            self._file.close()
            raise
        self._known = set(self._file.recordings)
        self._last: tuple[str, int, np.ndarray] | None = None

    def records(self, video: str, frames: Sequence[int]) -> list[np.ndarray | None]:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        if video not in self._known:
            return [None] * len(frames)
        if self._last is None or self._last[0] != video:
            first, _ = self._file.span(video)
            self._last = (video, first, self._file.read(self._level, video))
        _, first, rows = self._last
        found = (rows[i] if 0 <= i < len(rows) else None for i in (f - first - 1 for f in frames))
        return [None if row is None or np.isnan(row).any() else row for row in found]

    def has(self, video: str) -> bool:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        return video in self._known

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "fps": self.fps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()
