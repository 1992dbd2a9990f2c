"""The base of every method's LightningModule: what the shared logs and checks read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import lightning
import numpy as np
import torch

from behaviorzoo.batches import sample_seeds


class TrainingModule(lightning.LightningModule):
    """A network in training, with its measures where the trainer's callbacks find them.

    A method keeps everything that has weights in ``self.model`` (a checkpoint holds its state
    dict), reports with :meth:`measure` in ``training_step``, and returns the held-out measures of
    a batch from :meth:`held_out`.

    Attributes:
        measured: Name -> scalar tensor of the latest batch, without history.
        grad_norm: Global L2 norm of the latest update's gradients before clipping.
        train_measures: Names that ``training_step`` measures; columns ``train_NAME`` of the log.
        val_measures: Names that :meth:`held_out` returns; columns ``val_NAME``.
        board_tags: Column -> name in TensorBoard, where that is another.
    """

    train_measures: tuple[str, ...] = ("loss",)
    val_measures: tuple[str, ...] = ("loss",)
    board_tags: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        super().__init__()
        self.measured: dict[str, torch.Tensor] = {}
        self.grad_norm: torch.Tensor | None = None

    @property
    def fused_optimizer(self) -> bool:
        """Whether the optimiser's fused kernel can be used where this network trains."""
        # The fused kernel and the gradient scaler of float16 would both unscale the gradients.
        scaled = self.trainer.precision == "16-mixed"
        return not scaled and self.device.type in ("cpu", "cuda")

    def measure(self, **values: torch.Tensor) -> None:
        """Report scalars of this batch to the logs."""
        self.measured = {name: value.detach() for name, value in values.items()}

    def seed_draws(self, seed: int, batch_idx: int) -> None:
        """Seed torch's own random numbers (dropout) for a training step by its place.

        A resume has then no state to restore, and every process draws its own.

        Args:
            seed: The run's seed.
            batch_idx: Number of the batch in its epoch.
        """
        place = np.array([batch_idx * self.trainer.world_size + self.global_rank])
        torch.manual_seed(int(sample_seeds(seed, self.current_epoch, place)[0]))

    def held_out(self, batch: object) -> dict[str, torch.Tensor]:
        """Measures of one held-out batch, means over its samples.

        Args:
            batch: What the validation loader hands out.

        Returns:
            Name -> scalar, the names of ``val_measures``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no held-out measures")

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Measure the global L2 norm of the gradients, and limit it where a limit is set."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        limit = float("inf") if gradient_clip_val is None else gradient_clip_val
        self.grad_norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
