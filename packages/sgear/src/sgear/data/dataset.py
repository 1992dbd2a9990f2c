"""Clips with the action that follows, one item or batch at a time.

Letters: B batch, n windows of a clip, F frames of a window, T frames of a clip, C channels,
N classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from behaviorzoo.batches import sample_seeds
from sgear.data.config import Compat, DataConfig, DatasetConfig
from sgear.data.drawing import RowChoice
from sgear.data.past_labels import IntervalTable, labels_at
from sgear.data.readers import BrokenClipError, Clip, ClipReader
from sgear.data.sampling import Draws, Sampling
from sgear.data.transforms import ClipTransform, windows

if TYPE_CHECKING:
    from sgear.data.presence import Presence
    from sgear.data.tables import ActionTable

Item = dict[str, Any]


@dataclass(frozen=True)
class BrokenClip:
    """An item that cannot be had.

    Attributes:
        idx: Its row.
        uid: Its name in the annotations.
        message: What is wrong, with the name of the video.
    """

    idx: int
    uid: int | str
    message: str


class ActionDataset(torch.utils.data.Dataset):
    """Clips of annotated actions.

    What is random about an item (which part of the video, mirror, crop, colour) is a function of
    the seed, the epoch and the row; it does not matter which process loads it, or when.

    Args:
        actions: Rows after the conversion for anticipation, and the classes.
        discarded: Rows that were dropped.
        readers: One per modality.
        config: Keys of the set.
        data: Keys of the clips.
        training: Random transforms and one crop, else those of evaluation.
        compat: See :class:`~sgear.data.past_labels.IntervalTable`,
            :class:`~sgear.data.colour.ColourJitter` and
            :class:`~sgear.data.readers.video.VideoClipReader`.
        seed: See above.
        presence: What was found, one entry per modality.

    Attributes:
        table: The rows; ``idx`` of an item is its row.
        discarded: Rows without enough video before them.
        classes: Type -> name -> number.
        num_classes: Type -> number of classes.
        class_mappings: ``("verb", "action")`` and ``("noun", "action")`` -> float32 0/1 matrix.
        label_types: What is learned, the main one first.
        primary_metric: What a network is judged by.
        notes: What the user should know.
    """

    def __init__(
        self,
        actions: ActionTable,
        discarded: pd.DataFrame,
        readers: Sequence[ClipReader],
        config: DatasetConfig,
        data: DataConfig,
        *,
        training: bool,
        compat: Compat = "upstream",
        seed: int = 42,
        presence: Sequence[Presence] = (),
    ):
        self.table, self.discarded = actions.table, discarded
        self.classes = {kind: dict(names) for kind, names in actions.classes.names.items()}
        self.num_classes = {kind: actions.classes.counts[kind] for kind in config.label_type}
        self.class_mappings = actions.classes.mappings()
        self.known_classes = actions.classes
        self.label_types = list(config.label_type)
        self.version, self.primary_metric = actions.version, actions.primary_metric
        self.notes, self.presence = list(actions.notes), list(presence)
        self.config, self.data, self.compat = config, data, compat
        self.training, self.seed, self.epoch = training, seed, 0
        self.readers = list(readers)
        self.sampling = Sampling(
            data.num_frames, data.frame_rate, config.sample_strategy, config.is_train
        )
        self.transform = ClipTransform(data, training, compat)
        self._columns = _Columns(self.table, self.label_types)
        self._past = IntervalTable(self.table, compat) if data.load_seg_labels else None
        labels = self._columns.labels[self.label_types[0]]
        self._choice = RowChoice(
            len(self.table),
            config.repeat_data_times,
            labels if config.sample_classes_balanced else None,
        )

    def __len__(self) -> int:
        return len(self._choice)

    def __getitem__(self, index: int) -> Item | BrokenClip:
        """The item at an index, its random part drawn for the epoch of :meth:`set_epoch`."""
        return self.drawn(index, Draws(lambda: item_seed(self.seed, self.epoch, index)))

    def set_epoch(self, epoch: int) -> None:
        """Draw what is random anew; the same epoch gives the same items."""
        self.epoch = epoch

    def item(self, index: int, seed: int | None) -> Item | BrokenClip:
        """The item at an index.

        Args:
            index: 0 to ``len(self) - 1``.
            seed: Of what is random about it; None takes torch's global generator, as the original
                does.

        Returns:
            ``video`` {mod_i: float32 (n, C, F, h, w), several crops: (n, crops, C, F, h, w)},
            ``video_frame_sec`` {mod_i: float32 (n, F)}, ``target`` {type: int}, ``past_target``
            {type: int64 (n, F)} if asked for, ``future`` {i: as video} if asked for, ``idx``,
            ``uid``, ``start``, ``end`` (seconds of the clip's segment), ``missing_frames``.
        """
        return self.drawn(index, Draws(seed))

    def drawn(self, index: int, draws: Draws) -> Item | BrokenClip:
        """The item at an index, with random numbers from ``draws``; see :meth:`item`."""
        row = self._choice.row(index, draws)
        columns = self._columns
        start, end = columns.start[row], columns.end[row]
        try:
            clips = [self._clip(reader, row, start, end, draws) for reader in self.readers]
            future = self._future(row, draws) if self.config.return_future_clips_too else None
        except BrokenClipError as error:
            return BrokenClip(row, columns.uid[row], str(error))
        seconds = {f"mod_{i}": self._seconds(clip) for i, (clip, _) in enumerate(clips)}
        item: Item = {
            "video": {f"mod_{i}": video for i, (_, video) in enumerate(clips)},
            "video_frame_sec": seconds,
            "target": {kind: int(labels[row]) for kind, labels in columns.labels.items()},
            "idx": row,
            "uid": columns.uid[row],
            "start": start,
            "end": end,
            "missing_frames": sum(clip.n_missing for clip, _ in clips),
        }
        if self._past is not None:
            item["past_target"] = self._past_labels(row, clips[0][0], seconds["mod_0"])
        if future is not None:
            item["future"] = future
        return item

    def _clip(
        self, reader: ClipReader, row: int, start: float, end: float, draws: Draws
    ) -> tuple[Clip, torch.Tensor]:
        """A clip, and its windows as the network takes them."""
        clip = reader.read(self._columns.video[row], start, end, self.sampling, draws)
        frames = torch.from_numpy(clip.frames)
        if reader.what == "features":
            x = frames.permute(3, 0, 1, 2)  # (T, 1, 1, C) -> (C, T, 1, 1)
        else:
            x = self.transform(frames, draws)
        return clip, windows(x, *self.data.window)

    def _future(self, row: int, draws: Draws) -> dict[str, torch.Tensor]:
        """Clips behind the seen one, one for each ratio of the conversion."""
        clips = {}
        for number, (start, end) in enumerate(self._columns.future):
            _, clips[f"future_{number}"] = self._clip(
                self.readers[0], row, float(start[row]), float(end[row]), draws
            )
        return clips

    def _seconds(self, clip: Clip) -> torch.Tensor:
        """Times of the frames in windows, float32 (n, F)."""
        return torch.from_numpy(clip.times).float().unfold(0, *self.data.window)

    def _past_labels(self, row: int, clip: Clip, seconds: torch.Tensor) -> dict[str, torch.Tensor]:
        """Labels of the frames that are seen, int64 (n, F) of every type; -1 = none."""
        assert self._past is not None
        # The original looks times up after it has rounded them to float32.
        if self.compat == "upstream":
            times = seconds.numpy().astype(np.float64)
        else:
            times = torch.from_numpy(clip.times).unfold(0, *self.data.window).numpy()
        rows = self._past.rows_at(self._columns.video[row], times.ravel()).reshape(times.shape)
        rows = rows[:: self.config.tubelets]
        return {
            kind: torch.from_numpy(labels_at(labels, rows))
            for kind, labels in self._columns.labels.items()
        }


def item_seed(seed: int, epoch: int, index: int) -> int:
    """Seed of what is random about an item of an epoch."""
    return int(sample_seeds(seed, epoch, np.array([index]))[0])


class _Columns:
    """The columns that items need, out of the table: looking into a frame is slow."""

    def __init__(self, table: pd.DataFrame, label_types: Sequence[str]):
        self.video = [str(path) for path in table["video_path"]]
        self.uid = table["uid"].tolist()
        self.start = table["start"].to_numpy(dtype=np.float64).tolist()
        self.end = table["end"].to_numpy(dtype=np.float64).tolist()
        self.labels = {
            kind: table[f"{kind}_class"].to_numpy(dtype=np.int64) for kind in label_types
        }
        n_future = sum(f"future_{i}_start" in table for i in range(table.shape[1]))
        self.future = [
            tuple(table[f"future_{i}_{side}"].to_numpy(np.float64) for side in ("start", "end"))
            for i in range(n_future)
        ]


def collate(items: Sequence[Item | BrokenClip]) -> Item:
    """Items to a batch.

    Broken clips are left out and listed under ``broken``; where nothing else is left, ``idx`` is
    empty and there is no ``video``.

    Returns:
        As an item, with a leading axis B; ``target``, ``idx`` and ``missing_frames`` int64 (B),
        ``start`` and ``end`` float64 (B), ``uid`` a list, ``broken`` a list.
    """
    whole = [item for item in items if not isinstance(item, BrokenClip)]
    batch = {key: _joined(key, [item[key] for item in whole]) for key in (whole or [{}])[0]}
    batch.setdefault("idx", torch.empty(0, dtype=torch.int64))
    batch.setdefault("uid", [])
    batch["broken"] = [item for item in items if isinstance(item, BrokenClip)]
    return batch


def _joined(key: str, values: list[Any]) -> Any:
    first = values[0]
    if key == "uid":
        return values
    if isinstance(first, Mapping):
        return {name: _joined(name, [value[name] for value in values]) for name in first}
    if isinstance(first, torch.Tensor):
        return torch.stack(values)
    return torch.tensor(values, dtype=torch.float64 if isinstance(first, float) else torch.int64)
