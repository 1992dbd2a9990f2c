"""Whole videos without annotations: a clip at every so many seconds.

A moment is when the clip ends, "now"; row k of a video is the moment ``first + k * every``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from sgear.data.classes import Classes
from sgear.data.config import Compat, DataConfig, DatasetConfig
from sgear.data.dataset import ActionDataset
from sgear.data.readers import ClipReader, FeatureReader, open_reader
from sgear.data.readers.features import FeatureStore, video_name
from sgear.data.tables import ActionTable

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_LONGEST = 1 << 26
"""Feature frames; where a search for the end of a video gives up."""


def find_videos(folder: str | Path) -> list[str]:
    """Videos in a folder and its sub-folders, as paths below it, sorted.

    Raises:
        UserError: No such folder, or no video in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of videos")
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEOS and path.is_file()
    )
    if not found:
        raise UserError(f"{folder}: no video in it ({', '.join(VIDEOS)})")
    return found


def moments_dataset(
    config: DatasetConfig,
    data: DataConfig,
    videos: Sequence[str],
    every: float,
    *,
    compat: Compat = "upstream",
) -> tuple[ActionDataset, list[str]]:
    """Clips at equal distances over whole videos.

    Args:
        config: Where videos or features are, and how much is seen (``tau_o``).
        data: How clips become tensors.
        videos: Paths below the folders of the set, or names of features.
        every: Seconds between two moments; the first is at ``every``.
        compat: See :class:`~sgear.data.dataset.ActionDataset`.

    Returns:
        The clips, and notes on videos that are left out.

    Raises:
        UserError: A distance that is no number above 0, or no moment in any video.
    """
    if not every > 0:
        raise UserError(f"--every {every:g}: seconds between two moments, above 0")
    readers = [open_reader(reader, config.root, compat) for reader in config.reader_fn]
    seen = 2.5 if config.conv_to_anticipate_fn is None else config.conv_to_anticipate_fn.tau_o
    parts, notes = [], []
    for video in videos:
        length = min(duration(reader, video) for reader in readers)
        count = int(length / every + 1e-9)
        if count == 0:
            notes.append(f"{video}: lasts {length:.2f} s, no moment in it: left out")
            continue
        end = every * np.arange(1, count + 1)
        path = {"video_path": video, "video_id": video_name(video)}
        parts.append(pd.DataFrame({**path, "start": np.maximum(end - seen, 0.0), "end": end}))
    if not parts:
        raise UserError(f"no moment in {len(videos)} videos; {notes[0] if notes else 'none given'}")
    table = pd.concat(parts, ignore_index=True)
    table["uid"] = np.arange(1, len(table) + 1)
    for kind in config.label_type:
        table[f"{kind}_class"] = -1
    classes = Classes({kind: {} for kind in config.label_type})
    dataset = ActionDataset(
        ActionTable(table, classes), table.iloc[:0], readers, config,
        replace(data, load_seg_labels=False), training=False, compat=compat,
    )  # fmt: skip
    return dataset, notes


def duration(reader: ClipReader, video: str) -> float:
    """Seconds of a video, or of its features.

    Raises:
        UserError: It is not there.
    """
    if isinstance(reader, FeatureReader):
        frames = min(_last_frame(s, reader.name_of(s, video)) for s in reader.stores)
        if frames == 0:
            raise UserError(f"{video}: no features of it in {reader.places()}")
        return frames / reader.fps
    from behaviorzoo.video import video_info
    from sgear.data.readers.video import VideoClipReader

    assert isinstance(reader, VideoClipReader)
    path = reader.path_of(video)
    if path is None:
        raise UserError(f"{video}: no such video in {reader.places()}")
    return float(video_info(path).duration)


def labels_at_moments(
    labels: pd.DataFrame, segments: pd.DataFrame, fps: dict[str, float]
) -> pd.DataFrame:
    """Labels of frames of videos as labels of moments.

    A moment bears the label of the frame that is shown then.

    Args:
        labels: The core's table, in frames of the videos.
        segments: Rows of the embedding file, with ``recording``, ``row`` and ``end``.
        fps: Recording -> frames per second.

    Returns:
        The core's table, in rows of the embedding file.

    Raises:
        UserError: The labels are of none of the recordings.
    """
    parts = []
    for recording, own in segments.groupby("recording", sort=False):
        rows = labels.loc[(labels["recording"] == recording).to_numpy()]
        frame = np.floor(own["end"].to_numpy(dtype=float) * fps[str(recording)] + 1e-6)
        for row in rows.to_dict("records"):
            whole = pd.isna(row["start"])
            inside = np.ones(len(own), dtype=bool)
            if not whole:
                inside = (frame >= int(row["start"])) & (frame < int(row["stop"]))
            if inside.any():
                place = own["row"].to_numpy()[inside]
                parts.append({**row, "start": place.min(), "stop": place.max() + 1})
    if not parts:
        known = sorted(set(labels["recording"]))
        name = str(segments["recording"].iloc[0])
        raise UserError(
            f"the labels are of none of the recordings; {name!r}: {suggest(name, known)}"
        )
    table: Any = pd.DataFrame(parts)
    return table


def _last_frame(store: FeatureStore, video: str) -> int:
    """Number of the last stored frame, from 1; 0 without any. Small gaps do not matter."""

    def stored(frame: int) -> bool:
        near = range(frame, max(frame - 30, 0), -1)
        return any(record is not None for record in store.records(video, list(near)))

    if not store.has(video):
        return 0
    low, high = 0, 32
    while stored(high) and high < _LONGEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stored(middle) else (low, middle)
    while low and store.records(video, [low])[0] is None:
        low -= 1
    return low
