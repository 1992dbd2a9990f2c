"""How far a run is, how fast, and when it will end."""

from __future__ import annotations

import sys
import time
from typing import Any, cast

import lightning
from tqdm import tqdm

from behaviorzoo.batches import BatchLoader
from behaviorzoo.training.module import TrainingModule

_SECONDS_BETWEEN_LINES = 30.0


class Progress(lightning.Callback):
    """A bar in samples (hence with samples/s) and with the time that is left.

    Where standard error is a file, a line every half minute takes the place of the bar.

    Args:
        loader: The training batches.
    """

    def __init__(self, loader: BatchLoader[Any]):
        self.loader = loader
        self._bar: Any = None
        self._shown = 0.0

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Begin at the position where the run begins or goes on."""
        if not trainer.is_global_zero:
            return
        self._samples = self.loader.sampler.batch_size * trainer.world_size
        per_epoch = len(self.loader) * self._samples
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=cast(int, trainer.max_epochs) * per_epoch,
            initial=trainer.global_step * trainer.accumulate_grad_batches * self._samples,
            unit="samples",
            unit_scale=True,
            dynamic_ncols=terminal,
            mininterval=0.5 if terminal else _SECONDS_BETWEEN_LINES,
            smoothing=0.05,
            file=sys.stderr if terminal else _Lines(),
            leave=True,
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move on by the batch."""
        if self._bar is None:
            return
        now = time.monotonic()
        # The loss is read only as often as it is shown: reading it waits for the device.
        if now - self._shown >= self._bar.mininterval:
            self._shown = now
            self._describe(trainer, cast(TrainingModule, pl_module))
        self._bar.update(self._samples)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Show the numbers of the last update."""
        if self._bar is not None:
            self._describe(trainer, cast(TrainingModule, pl_module))

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Leave the last state of the bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _describe(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        self._bar.set_description(
            f"epoch {trainer.current_epoch}/{trainer.max_epochs}", refresh=False
        )
        if "loss" in module.measured:
            self._bar.set_postfix(loss=f"{float(module.measured['loss']):.4g}", refresh=False)


class _Lines:
    """Standard error for a bar that cannot move the cursor: one line per state."""

    def write(self, text: str) -> int:
        line = text.strip()
        return sys.stderr.write(line + "\n") if line else 0

    def flush(self) -> None:
        sys.stderr.flush()
