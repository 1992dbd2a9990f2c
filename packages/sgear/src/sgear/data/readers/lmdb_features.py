"""Features in LMDB, as RULSTM and AVT publish them: a record of float32 per frame.

The keys are ``<video>_frame_<10 digits>.jpg``, frames counted from 1; they lie in a folder with
``data.mdb``, or in a single file. LMDB refuses to open a file twice in one process, so training and
evaluation share one environment; it is opened without locks and read-only, which stays valid in
forked workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.errors import UserError

_ENVIRONMENTS: dict[str, Any] = {}
"""Open environments of this process by their real path."""


class LmdbFeatures:
    """Features of an LMDB file or folder.

    Args:
        path: The folder with ``data.mdb``, or the file.
        fps: Frames per second of the frame numbers.
        key_format: Key of a record, with ``{video}`` and ``{frame}``.

    Raises:
        UserError: No such file, or not LMDB.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float = 30.0,
        key_format: str = "{video}_frame_{frame:010d}.jpg",
    ):
        self.path, self.fps, self.key_format = str(path), fps, key_format
        self._environment = _open(self.path)

    def records(self, video: str, frames: Sequence[int]) -> list[np.ndarray | None]:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        key = self.key_format.format
        with self._environment.begin() as transaction:
            get = transaction.get
            values = [get(key(video=video, frame=frame).encode()) for frame in frames]
        try:
            return [None if value is None else np.frombuffer(value, np.float32) for value in values]
        except ValueError as error:
            raise UserError(f"{self.path}: {video}: a record is not of float32 numbers") from error

    def has(self, video: str) -> bool:
        """See :class:`~sgear.data.readers.features.FeatureStore`."""
        prefix, _, _ = self.key_format.partition("{frame")
        start = prefix.format(video=video).encode()
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            return cursor.set_range(start) and cursor.key().startswith(start)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_environment"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._environment = _open(self.path)


def write_lmdb(
    path: str | Path,
    features: dict[str, np.ndarray],
    key_format: str = "{video}_frame_{frame:010d}.jpg",
) -> None:
    """Write features (frames, C) of each video as RULSTM does; a row of NaN is left out.

    Args:
        path: The new folder.
        features: Video -> float (n, C); row i is frame i + 1.
        key_format: Key of a record.
    """
    import lmdb

    from behaviorzoo.files import atomic_path

    size = sum(array.size for array in features.values()) * 4
    with atomic_path(path) as temporary:
        # Pages of 4 KiB hold a record each; the file itself grows only as far as it must.
        environment = lmdb.open(str(temporary), map_size=4 * size + (64 << 20), lock=False)
        with environment, environment.begin(write=True) as transaction:
            for video, array in features.items():
                rows = np.asarray(array, dtype=np.float32)
                for row in np.flatnonzero(~np.isnan(rows).any(axis=1)):
                    key = key_format.format(video=video, frame=row + 1)
                    transaction.put(key.encode(), rows[row].tobytes())


def _open(path: str) -> Any:
    import lmdb

    real = Path(path).expanduser().resolve()
    environment = _ENVIRONMENTS.get(str(real))
    if environment is not None:
        return environment
    file = real / "data.mdb" if real.is_dir() else real
    if not file.is_file():
        raise UserError(f"{path}: no LMDB features here (no data.mdb); give reader_fn.path")
    try:
        environment = lmdb.open(
            str(real), readonly=True, lock=False, subdir=real.is_dir(), readahead=False
        )
    except lmdb.Error as error:
        raise UserError(f"{path}: not an LMDB file ({error})") from error
    _ENVIRONMENTS[str(real)] = environment
    return environment
