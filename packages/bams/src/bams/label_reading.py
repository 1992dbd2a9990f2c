"""Labels read from a network while it trains, as the authors do for data with labels."""

from __future__ import annotations

from typing import Any

import lightning
import torch

from bams.annotation_files import read_annotations
from bams.annotations import Annotations
from bams.config import TrainConfig
from bams.data import BehaviorDataset
from bams.evaluate import evaluate_labels
from bams.label_scores import OriginalReadout
from behaviorzoo.errors import UserError
from behaviorzoo.training.logs import MetricsLog


class LabelReading(lightning.Callback):
    """Reads the labels after the epochs 1, 1 + ``every``, ...; scores and confusions go to the log.

    It changes nothing that the training depends on, so a run that is killed meanwhile just reads
    them again when the epoch is repeated.

    Args:
        data: The training sequences.
        annotations: Their labels.
        settings: Split and readouts.
        every: Epochs from one reading to the next.
    """

    def __init__(
        self,
        data: BehaviorDataset,
        annotations: Annotations,
        settings: OriginalReadout,
        every: int,
    ):
        self.data = data
        self.annotations = annotations
        self.settings = settings
        self.every = every

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Read the labels if it is this epoch's turn; one process does it."""
        if trainer.current_epoch % self.every or not trainer.is_global_zero:
            return
        model: Any = pl_module.model
        with torch.random.fork_rng():
            scalars, figures = evaluate_labels(
                model, self.data, self.annotations, settings=self.settings
            )
        log = next(part for part in _callbacks(trainer) if isinstance(part, MetricsLog))
        log.latest.update(scalars)
        for name, value in scalars.items():
            log.board.add_scalar(name, value, trainer.global_step)
        for name, figure in figures.items():
            log.board.add_figure(name, figure, trainer.global_step)  # and closes it


def label_reading(cfg: TrainConfig, data: BehaviorDataset) -> list[lightning.Callback]:
    """The callback, where the data have labels and the settings want them read.

    Raises:
        UserError: A label file that does not fit the sequences.
    """
    if not cfg.data.annotations or not cfg.labels.every_epochs:
        return []
    if len(data) != len(data.names):
        raise UserError(
            f"data.annotations: {len(data.names)} labelled sequences were cut into {len(data)} "
            "windows; leave data.window out, or set labels.every_epochs=0 and use `bams evaluate`"
        )
    annotations = read_annotations(
        cfg.data.annotations,
        dict.fromkeys(data.names, (0, data.length)),
        regression=cfg.labels.regression,
        tasks=cfg.labels.tasks or None,
    )
    settings = OriginalReadout(train=cfg.labels.train, seed=cfg.seed, compat=cfg.compat)
    return [LabelReading(data, annotations, settings, cfg.labels.every_epochs)]


def _callbacks(trainer: lightning.Trainer) -> list[lightning.Callback]:
    return list(trainer.callbacks)  # pyright: ignore[reportAttributeAccessIssue]
