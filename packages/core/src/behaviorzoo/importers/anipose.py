"""Anipose: triangulated 3-D tracks in a csv file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.importers.movement_library import movement_io, tracks_from_movement
from behaviorzoo.importers.tracks import Tracks

SOFTWARE = "Anipose"
FRAME_COLUMN = "fnum"


def read_anipose(path: Path, where: str) -> Tracks:
    """Read an Anipose table through ``movement``.

    Args:
        path: A csv file with the columns ``NAME_x, NAME_y, NAME_z, NAME_score`` and, for the
            frame numbers, ``fnum``.
        where: Name for the messages.

    Returns:
        The tracks of one individual, in 3-D, key points in the order of the file.

    Raises:
        UserError: Not such a table, or no whole frame numbers.
    """
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: the table cannot be read ({error})") from error
    if table.empty:
        raise UserError(f"{where}: the table has a header but no frame (zero rows)")
    if FRAME_COLUMN in table:
        numbers = np.asarray(pd.to_numeric(table[FRAME_COLUMN], errors="coerce"), dtype=float)
        if not (np.isfinite(numbers) & (np.round(numbers) == numbers)).all():
            raise UserError(f"{where}: the column {FRAME_COLUMN!r} has no whole frame numbers")
    else:
        numbers = np.arange(len(table))
    with movement_io(where) as io:
        ds = io.load_poses.from_anipose_style_df(table, individual_name="individual_0")
    tracks = tracks_from_movement(ds, numbers.astype(np.int64), SOFTWARE, where)
    tracks.numbered = FRAME_COLUMN in table
    # movement sorts the key points by name; the file's order is the one people know.
    columns = [str(column)[:-2] for column in table.columns if str(column).endswith("_x")]
    order = [tracks.keypoints.index(name) for name in columns if name in tracks.keypoints]
    tracks.keypoints = [tracks.keypoints[k] for k in order]
    tracks.position = tracks.position[:, :, order]
    if tracks.confidence is not None:
        tracks.confidence = tracks.confidence[:, order]
    return tracks
