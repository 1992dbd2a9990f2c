"""When a run saves, in what layout, and how it ends when it is asked to."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from behaviorzoo.checkpoints import (
    CHECKPOINTS_FOLDER,
    TRAINER_FILE,
    checkpoint_name,
    find_checkpoints,
    incompleteness,
    load_checkpoint,
    load_torch_file,
    save_checkpoint,
)
from behaviorzoo.training.config import TrainerConfig
from behaviorzoo.training.logs import MetricsLog
from behaviorzoo.training.signals import StopRequest, StopTraining
from behaviorzoo.training.votes import Votes

_OURS = "behaviorzoo"
_NETWORK = "model."


class FolderCheckpointIO(CheckpointIO):
    """Lightning's checkpoint dictionary <-> a checkpoint folder of ours.

    The weights go to safetensors under the network's own names, so that they can be used without
    this trainer; only the rest is in ``trainer.ckpt``, and no weight is stored twice.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write the folder ``path`` at once or not at all."""
        rest = dict(checkpoint)
        weights = rest.pop("state_dict")
        ours = rest.pop(_OURS, {"config": {}, "metadata": {}})
        prefix = _NETWORK if all(name.startswith(_NETWORK) for name in weights) else ""
        save_checkpoint(
            path,
            {name.removeprefix(prefix): tensor for name, tensor in weights.items()},
            ours["config"],
            ours["metadata"],
            lambda file: _write_torch(file, {**rest, "prefix": prefix}),
        )

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the folder ``path``; nothing in it is run."""
        rest = load_torch_file(Path(path) / TRAINER_FILE)
        prefix = rest.pop("prefix")
        state = load_checkpoint(path).state
        rest["state_dict"] = {prefix + name: tensor for name, tensor in state.items()}
        return rest

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the folder; a kill in the middle leaves a hidden name that nobody reads."""
        path = Path(path)
        hidden = path.with_name(f".{path.name}.old")
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


class CheckpointWriter(Checkpoint):
    """Saves by time, updates and epochs, at the end, and when the run is asked to stop.

    It saves only between two updates: inside an epoch after the last batch of an accumulation
    group, at its end after everything else of that epoch.

    Args:
        cfg: When to save and how many to keep.
        run_dir: The run folder.
        config: Resolved configuration, stored in every checkpoint.
        metadata: Stored in every checkpoint besides step, epoch and metrics.
        metrics_log: Its latest numbers go into the metadata; it checks that the loss is finite.
        stop: The wish to end.
    """

    def __init__(
        self,
        cfg: TrainerConfig,
        run_dir: Path,
        config: Mapping[str, Any],
        metadata: Mapping[str, Any],
        metrics_log: MetricsLog,
        stop: StopRequest,
    ):
        self.cfg = cfg
        self.folder = run_dir / CHECKPOINTS_FOLDER
        self.config = dict(config)
        self.metadata = dict(metadata)
        self.metrics_log = metrics_log
        self.stop = stop
        self._votes = Votes()
        self._started = self._saved_at = time.monotonic()

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start the clocks when the training starts, not when it is prepared."""
        self._started = self._saved_at = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save after an update inside the epoch if it is time to."""
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches or done == trainer.num_training_batches:
            return
        every = self.cfg.checkpoint_every_steps
        self._save_or_stop(trainer, bool(every) and trainer.global_step % every == 0)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save after the epoch if it is time to, and always after the last one."""
        done, every = trainer.current_epoch + 1, self.cfg.checkpoint_every_epochs
        steps = self.cfg.checkpoint_every_steps
        due = done == trainer.max_epochs
        due |= bool(every) and done % every == 0
        due |= bool(steps) and trainer.global_step % steps == 0
        self._save_or_stop(trainer, due, epoch_end=True)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Hand configuration and metadata to the writer of the folder."""
        batches = int(trainer.num_training_batches)
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        position = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch + done / batches,
            "max_epochs": trainer.max_epochs,
        }
        checkpoint[_OURS] = {
            "config": self.config,
            "metadata": {**self.metadata, **position, "metrics": self.metrics_log.latest},
        }

    def save(self, trainer: lightning.Trainer) -> None:
        """Write a checkpoint now, then remove those that are too many. Called by all processes."""
        self.metrics_log.check_finite(trainer)
        path = self.folder / checkpoint_name(trainer.global_step)
        if incompleteness(path):
            if trainer.is_global_zero:
                shutil.rmtree(path, ignore_errors=True)
            trainer.save_checkpoint(path)
        self._saved_at = time.monotonic()
        if trainer.is_global_zero and self.cfg.keep_checkpoints:
            for old in find_checkpoints(self.folder)[: -self.cfg.keep_checkpoints]:
                trainer.strategy.checkpoint_io.remove_checkpoint(old)

    def _save_or_stop(self, trainer: lightning.Trainer, due: bool, epoch_end: bool = False) -> None:
        now, cfg = time.monotonic(), self.cfg
        late = _passed(now - self._saved_at, cfg.checkpoint_every_minutes)
        over = _passed(now - self._started, cfg.max_time_minutes)
        wishes = [self.stop.signal or 0, int(over), int(late)]
        signal, over, late = self._votes.agree(trainer, wishes, force=due or epoch_end)
        if due or late or signal or over:
            self.save(trainer)
        finished = epoch_end and trainer.current_epoch + 1 == trainer.max_epochs
        if (signal or over) and not finished:
            raise StopTraining(signal or None)


def _passed(seconds: float, minutes: float | None) -> bool:
    return minutes is not None and seconds >= 60 * minutes


def _write_torch(file: Path, content: dict[str, Any]) -> None:
    # Through bytes of ours, so that a full disk is an OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # No view of it: what an error keeps of this frame would end in a complaint of BytesIO.
    file.write_bytes(buffer.getvalue())
