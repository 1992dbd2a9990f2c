"""Measures on held-out data between two epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning
import torch

from behaviorzoo.batches import BatchLoader
from behaviorzoo.training.module import TrainingModule
from behaviorzoo.training.signals import StopRequest
from behaviorzoo.training.votes import Votes

_BATCHES_BETWEEN_VOTES = 10


class Validator(lightning.Callback):
    """Runs the held-out batches after the epochs 0, ``every``, 2 ``every``, ...

    Lightning's own validation loop counts epochs from the other end and cannot be left halfway
    and repeated after a resume. Here it can: validation changes no weight and draws from the
    epoch's own seeds, so it is simply run again.

    Args:
        loader: The held-out batches, in a fixed order.
        every: Epochs from one validation to the next.
        stop: The wish to end; it is heard between two batches.
        on_result: Called with trainer, epoch and ``val_NAME`` -> mean over the held-out samples.
    """

    def __init__(
        self,
        loader: BatchLoader[Any],
        every: int,
        stop: StopRequest,
        on_result: Callable[[lightning.Trainer, int, Mapping[str, float]], None],
    ):
        self.loader = loader
        self.every = every
        self.stop = stop
        self.on_result = on_result
        self._next_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch that is still to be validated."""
        return {"next_epoch": self._next_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved run was."""
        self._next_epoch = int(state_dict["next_epoch"])

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Make up for a validation that was under way when the run was stopped."""
        if trainer.current_epoch > self._next_epoch:
            self._validate(trainer, cast(TrainingModule, pl_module), self._next_epoch)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Validate if it is this epoch's turn."""
        if trainer.current_epoch >= self._next_epoch:
            self._validate(trainer, cast(TrainingModule, pl_module), trainer.current_epoch)

    def _validate(self, trainer: lightning.Trainer, module: TrainingModule, epoch: int) -> None:
        means = self._means(trainer, module, epoch)
        if means is None:
            return
        self._next_epoch = epoch + self.every
        results = {f"val_{name}": value for name, value in means.items()}
        self.on_result(trainer, epoch, results)

    def _means(
        self, trainer: lightning.Trainer, module: TrainingModule, epoch: int
    ) -> Mapping[str, float] | None:
        """Means over all samples of all processes, or None if the run is to end."""
        names, votes = module.val_measures, Votes()
        # The last place counts the samples.
        totals = torch.zeros(len(names) + 1, dtype=torch.float32, device=module.device)
        if module.device.type != "mps":
            totals = totals.double()
        batches = self.loader.sampler
        batches.shard(trainer.global_rank, trainer.world_size)
        batches.epoch, batches.position = epoch, 0
        plugin = trainer.precision_plugin
        with torch.no_grad(), plugin.val_step_context():
            for number, batch in enumerate(self.loader):
                ask = number % _BATCHES_BETWEEN_VOTES == 0
                if ask and votes.agree(trainer, [self.stop.signal or 0], force=True)[0]:
                    return None
                size = _size(batch)
                if size == 0:
                    continue
                batch = trainer.strategy.batch_to_device(plugin.convert_input(batch))
                values = module.held_out(batch)
                row = torch.stack([values[name].detach() for name in names])
                totals[:-1] += row.to(totals) * size
                totals[-1] += size
        totals = cast(torch.Tensor, trainer.strategy.reduce(totals, reduce_op="sum"))
        *sums, count = totals.tolist()
        return {name: value / count for name, value in zip(names, sums, strict=True)}


def _size(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor."""
    while isinstance(batch, tuple | list | Mapping):
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
    return len(batch)
