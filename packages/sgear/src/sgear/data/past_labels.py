"""Which action is going on at a time of a video, looked up in a sorted table.

The starts and ends of all actions of a video cut its time into pieces inside which the same
actions are going on. The pieces are made once per video; a time then costs one binary search,
whatever the number of annotated actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from sgear.data.config import Compat

NONE = -1


class _Pieces(NamedTuple):
    """Time of one video in 2 P + 1 pieces: point i is number 2 i + 1, gaps lie between.

    Attributes:
        points: Ascending (P,).
        rows: int64 (2 P + 1, K) rows of the actions that are going on, in order; -1 = no more.
        centre: float64 (2 P + 1, K) the time near which each is preferred; infinite for no more.
    """

    points: np.ndarray
    rows: np.ndarray
    centre: np.ndarray


class IntervalTable:
    """Actions by video and time.

    Args:
        table: Rows with ``video_path``, ``orig_start`` and ``orig_end`` (seconds, both ends
            belong to the action).
        compat: Of several actions at a time t the one is taken that minimises ``|t - c|``;
            ``corrected``: c is the centre of the action. ``upstream``: c is half its duration,
            which is what the original computes.
    """

    def __init__(self, table: pd.DataFrame, compat: Compat = "upstream"):
        start = table["orig_start"].to_numpy(dtype=np.float64)
        end = table["orig_end"].to_numpy(dtype=np.float64)
        centre = (end - start) / 2 if compat == "upstream" else (end + start) / 2
        self._times = start, end, centre
        groups = table.groupby("video_path", sort=False).indices
        self._rows: Mapping[str, np.ndarray] = {
            str(video): np.sort(rows) for video, rows in groups.items()
        }
        self._pieces: dict[str, _Pieces] = {}

    def rows_at(self, video: str, times: np.ndarray) -> np.ndarray:
        """Row of the action that is going on at each time.

        Args:
            video: The video.
            times: Seconds (T,).

        Returns:
            int64 (T,); -1 where there is none.
        """
        if video not in self._rows:
            return np.full(len(times), NONE)
        pieces = self._pieces.get(video)
        if pieces is None:
            pieces = self._pieces[video] = self._cut(self._rows[video])
        at = pieces.points.searchsorted(times) + pieces.points.searchsorted(times, "right")
        if pieces.rows.shape[1] == 1:
            return pieces.rows[at, 0]
        nearest = np.abs(times[:, None] - pieces.centre[at]).argmin(axis=1)
        return pieces.rows[at, nearest]

    def _cut(self, rows: np.ndarray) -> _Pieces:
        start, end, centre = (column[rows] for column in self._times)
        valid = start <= end
        rows, start, end, centre = rows[valid], start[valid], end[valid], centre[valid]
        points = np.unique(np.concatenate([start, end]))
        first = 2 * points.searchsorted(start) + 1
        length = 2 * points.searchsorted(end) + 2 - first
        # one entry per action and piece, actions in order within a piece
        action = np.repeat(np.arange(len(rows)), length)
        offset = np.arange(len(action)) - np.repeat(np.cumsum(length) - length, length)
        piece = first[action] + offset
        order = np.argsort(piece, kind="stable")
        piece, action = piece[order], action[order]
        n_pieces = 2 * len(points) + 1
        counts = np.bincount(piece, minlength=n_pieces)
        place = np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = max(int(counts.max(initial=0)), 1)
        row_of = np.full((n_pieces, width), NONE, dtype=np.int64)
        centre_of = np.full((n_pieces, width), np.inf)
        row_of[piece, place], centre_of[piece, place] = rows[action], centre[action]
        return _Pieces(points, row_of, centre_of)


def labels_at(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Labels of rows: ``labels[rows]``, and -1 for row -1."""
    return np.where(rows >= 0, labels[rows], NONE)
