"""A trained network with the data that its run was about, to look at what it makes of clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.errors import UserError, suggest
from sgear.assembly import classes_of_run
from sgear.checkpoints import SGearCheckpoint, load_checkpoint
from sgear.config import Config, checked
from sgear.data.config import DatasetConfig
from sgear.data.dataset import ActionDataset
from sgear.data.opening import build_dataset
from sgear.distributed import choose_device
from sgear.loader import Batch, BatchPlan, load, n_clips, to_device
from sgear.model import SGear
from sgear.precision import autocast, choose_precision
from sgear.run_folder import RESOLVED, SETTINGS, read_settings


@dataclass
class TrainedRun:
    """A run that can be used.

    Attributes:
        config: Its settings.
        checkpoint: Its weights, and what they say of themselves.
        network: In evaluation mode, on ``device``.
        device: Where it computes.
    """

    config: Config
    checkpoint: SGearCheckpoint
    network: SGear
    device: torch.device

    @property
    def sets(self) -> dict[str, DatasetConfig]:
        """All data sets of the run by their root keys."""
        return {**self.config.train_sets, **self.config.eval_sets}

    def set_config(self, key: str) -> DatasetConfig:
        """A data set of the run, as it is evaluated: nothing drawn, every row once.

        Raises:
            UserError: No such set.
        """
        if key not in self.sets:
            raise UserError(f"{key}: no such data set in the run; {suggest(key, self.sets)}")
        return replace(
            self.sets[key], is_train=False, repeat_data_times=1.0, sample_classes_balanced=False
        )

    def dataset(self, key: str, config: DatasetConfig | None = None) -> ActionDataset:
        """Open a data set of the run with the transforms of evaluation.

        Args:
            key: Root key, ``dataset_eval`` or ``dataset_train``.
            config: Used in place of the run's; such a table has classes of its own.

        Raises:
            UserError: Files that are not there.
        """
        own = config is None
        return build_dataset(
            self.set_config(key) if own else config,
            self.config.data_eval,
            training=False,
            classes=classes_of_run(self.config, self.checkpoint.classes) if own else None,
            compat=self.config.settings.compat,
            seed=self.config.settings.seed,
            where=key,
        )

    def outputs(
        self,
        dataset: ActionDataset,
        rows: Sequence[int] | np.ndarray,
        batch_size: int | None = None,
    ) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        """What the network makes of some clips, in their order; broken ones are left out.

        Args:
            dataset: The clips.
            rows: Which of them.
            batch_size: Clips at a time; that of the run's evaluation by default.

        Yields:
            The batch (with ``broken``) and the outputs, both on the CPU; a batch without a whole
            clip has no outputs.
        """
        settings = self.config.settings
        size = batch_size or settings.eval.batch_size or settings.train.batch_size
        plan = BatchPlan(len(rows), size, seed=settings.seed, shuffle=False)
        precision = choose_precision(settings.precision, self.device)
        source = _Rows(dataset, np.asarray(rows, dtype=np.int64))
        for batch in load(source, plan, 0, workers=self.config.data_eval.workers):
            if not n_clips(batch):
                yield batch, {}
                continue
            video = to_device(batch["video"], self.device)
            with torch.inference_mode(), autocast(precision, self.device):
                outputs, _ = self.network(video)
            found = {name: value.float().cpu() for name, value in outputs.items()}
            yield (
                batch,
                {name: value for name, value in found.items() if len(value) == n_clips(batch)},
            )


def open_run(
    folder: str | Path,
    words: Sequence[str] = (),
    *,
    checkpoint: str | Path | None = None,
    device: str | None = None,
) -> TrainedRun:
    """Open a run folder.

    Args:
        folder: With ``.hydra`` and ``checkpoint.pth``; or an exported network with its settings.
        words: Settings that differ.
        checkpoint: Other weights than the folder's.
        device: Where to compute; that of the settings by default.

    Raises:
        UserError: No such run, weights that do not fit, or mistakes in the words.
    """
    folder = Path(folder).expanduser()
    loaded = load_checkpoint(checkpoint or folder)
    if (folder / SETTINGS / RESOLVED).exists():
        config, _ = read_settings(folder, words)
    elif loaded.settings is not None and _has_data(loaded.settings) and not words:
        config = checked(loaded.settings, str(loaded.path))
    else:
        raise UserError(
            f"{folder}: no {SETTINGS}/{RESOLVED} in it, so its data are not known; give the folder "
            "of a run (and the weights with --checkpoint)"
        )
    place = choose_device(device or config.settings.device)
    return TrainedRun(config, loaded, loaded.build().to(place), place)


def _has_data(settings: Mapping[str, Any]) -> bool:
    return any(key.startswith("dataset_eval") for key in settings)


class _Rows(torch.utils.data.Dataset):
    """Some rows of a data set, in an order of their own."""

    def __init__(self, dataset: ActionDataset, rows: np.ndarray):
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        return len(self.rows)

    def item(self, index: int, seed: int | None) -> Any:
        """The clip of a row."""
        return self.dataset.item(int(self.rows[index]), seed)
