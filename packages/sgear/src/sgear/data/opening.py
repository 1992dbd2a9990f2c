"""Data sets as configured: annotations, classes, clips, and what of it is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from behaviorzoo.errors import UserError
from sgear.data.anticipation import convert_to_anticipation, without_anticipation
from sgear.data.classes import Classes
from sgear.data.config import Compat, DataConfig, DatasetConfig
from sgear.data.config_reading import check_data, check_dataset
from sgear.data.dataset import ActionDataset, BrokenClip, Item, item_seed
from sgear.data.presence import Presence, check_presence
from sgear.data.readers import ClipReader, open_reader
from sgear.data.sampling import Draws
from sgear.data.tables import ActionTable


def read_actions_of(
    config: DatasetConfig, classes: Classes | None = None, compat: Compat = "upstream"
) -> ActionTable:
    """Annotations and classes of a set, before the conversion for anticipation.

    Args:
        config: Keys of the set.
        classes: Classes of the training set, for ``kind=table``.
        compat: See :func:`sgear.data.salads.open_salads`.

    Raises:
        UserError: Files that are not there or say something else.
    """
    if config.kind == "table":
        from sgear.data.own_table import open_own_table

        return open_own_table(config, classes)
    if config.kind in ("salads", "breakfast"):
        from sgear.data.salads import open_salads

        return open_salads(config, compat)
    from sgear.data.epic import open_epic

    return open_epic(config)


def build_dataset(
    config: DatasetConfig,
    data: DataConfig,
    *,
    training: bool,
    classes: Classes | None = None,
    compat: Compat = "upstream",
    seed: int = 42,
    where: str = "dataset",
) -> ActionDataset:
    """Open a data set: read the annotations, look for videos or features, leave out what is not.

    Args:
        config: Keys of the set.
        data: Keys of the clips.
        training: Random transforms and one crop, else those of evaluation.
        classes: ``known_classes`` of the training set, for ``kind=table`` in evaluation.
        compat: ``upstream`` reproduces the original where its numbers depend on it, ``corrected``
            does what was meant; see :class:`~sgear.data.dataset.ActionDataset`.
        seed: Of everything random.
        where: Name of the set, for messages.

    Raises:
        UserError: Files that are missing or damaged, or no video or feature at all.
    """
    check_dataset(config, where)
    check_data(data, where)
    actions = read_actions_of(config, classes, compat)
    for kind in config.label_type:
        if f"{kind}_class" not in actions.table:
            raise UserError(f"{where}: label_type={kind}, but the annotations have no {kind}")
    readers = [open_reader(reader, config.root, compat) for reader in config.reader_fn]
    present, absent, presence = _present(actions.table, readers)
    if config.conv_to_anticipate_fn is None:
        table, discarded = without_anticipation(present), present.iloc[:0]
    else:
        table, discarded = convert_to_anticipation(present, config.conv_to_anticipate_fn, where)
    actions.table = table
    return ActionDataset(
        actions,
        pd.concat([discarded, absent], ignore_index=True),
        readers,
        config,
        data,
        training=training,
        compat=compat,
        seed=seed,
        presence=presence,
    )


class JoinedDatasets(torch.utils.data.Dataset):
    """Several data sets of the same classes, one behind the other.

    Args:
        parts: The sets.

    Attributes:
        table: All rows; ``idx`` of an item is its row here.

    Raises:
        UserError: None, or their classes differ.
    """

    def __init__(self, parts: Sequence[ActionDataset]):
        if not parts:
            raise UserError("no data set: give at least one key that starts with dataset_train")
        first = parts[0]
        for number, part in enumerate(parts[1:], start=2):
            if (part.classes, part.num_classes) != (first.classes, first.num_classes):
                raise UserError(
                    f"data set {number} has other classes than the first ({part.num_classes} and "
                    f"{first.num_classes}); give the same lists of classes"
                )
        self.parts = list(parts)
        self.table = pd.concat([part.table for part in parts], ignore_index=True)
        self.discarded = pd.concat([part.discarded for part in parts], ignore_index=True)
        self.notes = [note for part in parts for note in part.notes]
        self.presence = [entry for part in parts for entry in part.presence]
        self.seed, self.epoch = first.seed, 0
        self.version, self.primary_metric = first.version, first.primary_metric
        self.classes, self.num_classes = first.classes, first.num_classes
        self.known_classes, self.class_mappings = first.known_classes, first.class_mappings
        self.label_types = first.label_types
        self._first_index = np.cumsum([0, *map(len, parts)])
        self._first_row = np.cumsum([0, *(len(part.table) for part in parts)])

    def __len__(self) -> int:
        return int(self._first_index[-1])

    def __getitem__(self, index: int) -> Item | BrokenClip:
        """See :class:`~sgear.data.dataset.ActionDataset`."""
        return self.drawn(index, Draws(lambda: item_seed(self.seed, self.epoch, index)))

    def set_epoch(self, epoch: int) -> None:
        """See :class:`~sgear.data.dataset.ActionDataset`."""
        self.epoch = epoch

    def item(self, index: int, seed: int | None) -> Item | BrokenClip:
        """See :class:`~sgear.data.dataset.ActionDataset`."""
        return self.drawn(index, Draws(seed))

    def drawn(self, index: int, draws: Draws) -> Item | BrokenClip:
        """See :class:`~sgear.data.dataset.ActionDataset`."""
        if not 0 <= index < len(self):
            raise IndexError(f"{index} of {len(self)} items")
        part = int(np.searchsorted(self._first_index, index, side="right")) - 1
        item = self.parts[part].drawn(index - int(self._first_index[part]), draws)
        first = int(self._first_row[part])
        if isinstance(item, BrokenClip):
            return BrokenClip(item.idx + first, item.uid, item.message)
        return {**item, "idx": item["idx"] + first}


def concatenate(parts: Sequence[ActionDataset]) -> ActionDataset | JoinedDatasets:
    """Several sets as one; a single one stays as it is.

    Raises:
        UserError: None, or their classes differ.
    """
    return parts[0] if len(parts) == 1 else JoinedDatasets(parts)


def _present(
    table: pd.DataFrame, readers: Sequence[ClipReader]
) -> tuple[pd.DataFrame, pd.DataFrame, list[Presence]]:
    """Rows whose videos all readers have, the other rows, and what was found."""
    presence = [check_presence(reader, table) for reader in readers]
    missing = [video for entry in presence for video in entry.missing]
    there = ~table["video_path"].isin(missing).to_numpy()
    if not there.any():
        raise UserError("no video is there in all modalities: " + "; ".join(presence[0].lines()))
    present, absent = (table.iloc[np.flatnonzero(rows)] for rows in (there, ~there))
    return present.reset_index(drop=True), absent, presence
